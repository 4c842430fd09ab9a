package plugin_test

import (
	"testing"

	"github.com/a2aproject/a2a-go/v2/a2a"
	"github.com/stretchr/testify/require"
)

func TestAgentCards(t *testing.T) {
	t.Parallel()
	docs := documents(t, request(t, "formats=a2a,version=2.0.1"))
	require.Len(t, docs, 2)
	for name, text := range docs {
		var card a2a.AgentCard
		strict(t, text, &card)
		// What the specification calls required (4.4.1 to 4.4.6).
		require.NotEmpty(t, card.Name, name)
		require.NotEmpty(t, card.Description)
		require.Equal(t, "2.0.1", card.Version)
		require.Len(t, card.SupportedInterfaces, 1)
		require.Contains(t, text, `"capabilities"`)
		require.NotEmpty(t, card.DefaultInputModes)
		require.NotEmpty(t, card.DefaultOutputModes)
		seen := make(map[string]bool)
		for _, s := range card.Skills {
			require.False(t, seen[s.ID], s.ID)
			seen[s.ID] = true
			require.NotEmpty(t, s.Name)
			require.NotEmpty(t, s.Description)
			require.NotEmpty(t, s.Tags)
		}
	}
	var desk a2a.AgentCard
	strict(t, docs["a2a/acme.desk.v1.Desk.agent-card.json"], &desk)
	require.Equal(t, "Desk", desk.Name)
	require.True(t, desk.Capabilities.Streaming)
	require.Equal(t, &a2a.AgentInterface{URL: "capability:library.desk", ProtocolBinding: "SW4RM", ProtocolVersion: "1.0"}, desk.SupportedInterfaces[0])
	require.Len(t, desk.Skills, 6)
	require.Equal(t, a2a.AgentSkill{
		ID: "acme.desk.v1.Desk/FollowLoans", Name: "Follow Loans", Description: "FollowLoans reports what is lent | and brought back.",
		Tags: []string{"tool_call", "stream"},
	}, desk.Skills[1])
	require.Equal(t, []string{"application/vnd.acme.order+json;v=1"}, desk.Skills[5].InputModes)
	require.Equal(t, []string{"application/json"}, desk.Skills[5].OutputModes)
}
