package address_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/address"
)

func TestAddresses(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", address.MaxNameLength)
	for text, want := range map[string]address.Address{
		"agent:reviewer-1":           address.Agent("reviewer-1"),
		"agent:a:b.c_d":              address.Agent("a:b.c_d"),
		"agent:7":                    address.Agent("7"),
		"agent:" + long:              address.Agent(long),
		"capability:code.review":     address.Capability("code.review"),
		"capability:acme.v1.Service": address.Capability("acme.v1.Service"),
	} {
		got, err := address.Parse(text)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.Equal(t, text, got.String())
		require.False(t, got.IsZero())
	}
	require.True(t, address.Address{}.IsZero())
	require.Empty(t, address.Address{}.String())
	require.NotEqual(t, address.Agent("x"), address.Capability("x"))
	require.Equal(t, address.KindCapability, address.Capability("x").Kind())
	require.Equal(t, "x", address.Capability("x").Name())
}

func TestBadAddresses(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"":                                 "has no kind",
		"reviewer-1":                       "has no kind",
		"Agent:x":                          "has no kind",
		"queue:x":                          "has no kind",
		"agent:":                           "agent id is empty",
		"capability:":                      "capability is empty",
		"agent:a b":                        "has ' ' at byte 2",
		"agent:-a":                         "has '-' at byte 1",
		"agent:../etc":                     "has '.' at byte 1",
		"agent:a/b":                        "has '/' at byte 2",
		"agent:a\nb":                       `has '\n' at byte 2`,
		"agent:é":                          "at byte 1",
		"agent:a\x00":                      "at byte 2",
		"capability:a,b":                   "has ',' at byte 2",
		"agent:" + strings.Repeat("é", 65): "has 130 bytes. Fix: use at most 128",
	} {
		_, err := address.Parse(text)
		require.ErrorContains(t, err, says, "%q", text)
		require.ErrorContains(t, err, "Fix: ", "%q", text)
		var bad *address.Error
		require.ErrorAs(t, err, &bad)
	}
	require.ErrorContains(t, address.Address{}.Validate(), "address is empty")
	require.Error(t, address.Agent("a b").Validate())
}
