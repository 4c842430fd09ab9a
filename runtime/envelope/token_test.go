package envelope_test

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
)

func TestTokenVectors(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/idempotency_vectors.json")
	require.NoError(t, err)
	var file struct {
		Vectors []struct {
			ID         string `json:"id"`
			ProducerID string `json:"producer_id"`
			Operation  string `json:"operation"`
			Canonical  string `json:"canonical_hex"`
			Token      string `json:"token"`
			Rejected   bool   `json:"rejected"`
		} `json:"vectors"`
	}
	require.NoError(t, json.Unmarshal(raw, &file))
	require.NotEmpty(t, file.Vectors)
	for _, v := range file.Vectors {
		t.Run(v.ID, func(t *testing.T) {
			t.Parallel()
			canonical, err := hex.DecodeString(v.Canonical)
			require.NoError(t, err)
			token, err := envelope.Token(v.ProducerID, v.Operation, canonical)
			if v.Rejected {
				var typed *envelope.TokenError
				require.ErrorAs(t, err, &typed)
				assert.Contains(t, err.Error(), "line feed")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, v.Token, token)
		})
	}
}

func TestTokenErrors(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ producer, operation, want string }{
		"no producer":  {"", "b", "producer is empty"},
		"no operation": {"a", "", "operation is empty"},
		"too long":     {strings.Repeat("a", 300), strings.Repeat("b", 300), "more than 512"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := envelope.Token(tc.producer, tc.operation, nil)
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestReplyToken(t *testing.T) {
	t.Parallel()
	reply := envelope.ReplyToken("a:b:c")
	assert.Equal(t, "a:b:c:response:v1", reply)
	request, ok := envelope.RequestToken(reply)
	assert.True(t, ok)
	assert.Equal(t, "a:b:c", request)
	for _, s := range []string{"", "a:b:c", ":response:v1", "a:response:v2"} {
		_, ok := envelope.RequestToken(s)
		assert.False(t, ok, s)
	}
}

func TestIDs(t *testing.T) {
	t.Parallel()
	id, err := uuid.Parse(envelope.NewID())
	require.NoError(t, err)
	assert.Equal(t, uuid.Version(4), id.Version())
	assert.NotEqual(t, envelope.NewID(), envelope.NewID())
	assert.NoError(t, envelope.CheckID("message_id", envelope.NewID()))
	var typed *address.Error
	err = envelope.CheckID("message_id", "a b")
	require.ErrorAs(t, err, &typed)
	assert.Contains(t, err.Error(), "message_id")
}

func TestFrameToken(t *testing.T) {
	for _, request := range []string{"a:b/C:0123", "x", "a:frame:1.2:v1", ":frame:"} {
		token := envelope.FrameToken(request, 3, 64)
		got, run, n, ok := envelope.ParseFrameToken(token)
		require.True(t, ok, token)
		assert.Equal(t, request, got)
		assert.EqualValues(t, 3, run)
		assert.EqualValues(t, 64, n)
		_, reply := envelope.RequestToken(token)
		assert.False(t, reply)
	}
	assert.Equal(t, "a:b:c:frame:1.2:v1", envelope.FrameToken("a:b:c", 1, 2))
	for _, bad := range []string{
		"", "a", "a:response:v1", ":frame:1.1:v1", "a:frame:1.1", "a:frame:1:v1", "a:frame:1.0:v1", "a:frame:-1.1:v1",
		"a:frame:1.x:v1", "a:frame:.1:v1", "a:frame:1.18446744073709551616:v1", "a:frame:1.1:v2",
	} {
		_, _, _, ok := envelope.ParseFrameToken(bad)
		assert.False(t, ok, bad)
	}
}
