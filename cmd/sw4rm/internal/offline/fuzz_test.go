package offline

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzImport reads text as an export, and as an activity buffer of another SDK. It is refused with a remedy and leaves
// nothing, or makes a directory in which everything agrees, and which can be exported again.
func FuzzImport(f *testing.F) {
	for _, text := range []string{
		`{"version":"1.0","order":[],"records":{}}`,
		`{"version":"1.0","order":["a","b"],"records":{
			"a":{"message_id":"a","direction":"out","ts_ms":1700000000000,"ack_stage":1,"envelope":{"idempotency_token":"t","correlation_id":"c","payload":"eA==","_bytes_fields":["payload"],"message_type":2,"ttl_ms":5}},
			"b":{"message_id":"b","direction":"in","ts_ms":1700000001000,"ack_stage":"FULFILLED","envelope":{"producer_id":"p","message_type":"DATA","payload":{"x":1}}}}}`,
		`{"version":"1.0","order":["a","a2"],"records":{
			"a":{"message_id":"a","direction":"out","ack_stage":5,"error_code":99,"ack_note":"n","envelope":{"idempotency_token":"t","retry_count":1}},
			"a2":{"message_id":"a2","direction":"out","ack_stage":0,"envelope":{"idempotency_token":"t","sequence_number":18446744073709551615}}}}`,
	} {
		f.Add([]byte(text), true)
	}
	whole := filepath.Join(f.TempDir(), "whole")
	require.NoError(f, ImportSDK(f.Context(), whole, bytes.NewReader([]byte(`{"version":"1.0","order":["a"],"records":{
		"a":{"message_id":"a","direction":"out","ts_ms":1700000000000,"ack_stage":1,"envelope":{"idempotency_token":"t","payload":"x"}}}}`)),
		SDKImport{Agent: "me", To: "agent:you"}, io.Discard))
	var export bytes.Buffer
	require.NoError(f, Export(f.Context(), whole, &export, io.Discard))
	f.Add(export.Bytes(), false)

	f.Fuzz(func(t *testing.T, text []byte, sdk bool) {
		root := t.TempDir()
		dir := filepath.Join(root, "new")
		var err error
		if sdk {
			err = ImportSDK(t.Context(), dir, bytes.NewReader(text), SDKImport{Agent: "me", To: "agent:you"}, io.Discard)
		} else {
			err = Import(t.Context(), dir, bytes.NewReader(text), io.Discard)
		}
		if err != nil {
			require.ErrorContains(t, err, "Fix: ")
			left, err := os.ReadDir(root)
			require.NoError(t, err)
			require.Empty(t, left)
			return
		}
		require.NoError(t, Verify(t.Context(), dir, io.Discard))
		require.NoError(t, Export(t.Context(), dir, io.Discard, io.Discard))
		require.NoError(t, ExportSDK(t.Context(), dir, "me", io.Discard, io.Discard))
	})
}
