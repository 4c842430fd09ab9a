package offline

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPrintable(t *testing.T) {
	require.Equal(t, "plain ü 漢", printable("plain ü 漢"))
	require.Equal(t, "\ufffd[31mred\ufffd\ufffd", printable("\x1b[31mred\n\u202e"))
}

func TestBuildIsAllOrNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "new")
	stop := errors.New("the disk is full")
	require.ErrorIs(t, build(dir, func(tmp string) error {
		require.NoError(t, os.WriteFile(filepath.Join(tmp, "part"), nil, 0o600))
		return stop
	}), stop)
	left, err := os.ReadDir(filepath.Dir(dir))
	require.NoError(t, err)
	require.Empty(t, left)

	require.NoError(t, os.Mkdir(dir, 0o700), "an empty one may be there")
	require.NoError(t, build(dir, func(tmp string) error { return os.WriteFile(filepath.Join(tmp, "whole"), nil, 0o600) }))
	require.FileExists(t, filepath.Join(dir, "whole"))
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	var refused *TargetError
	require.ErrorAs(t, build(dir, func(string) error { return nil }), &refused)
	require.ErrorAs(t, build(filepath.Join(dir, "whole"), func(string) error { return nil }), &refused)
	require.ErrorAs(t, build(filepath.Join(dir, "whole", "x"), func(string) error { return nil }), &refused)
}

// TestImportOfAnything gives the readers of text what they must refuse without harm.
func TestImportOfAnything(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	for _, text := range []string{"", "\x00", "{}", "null", `{"records":null,"order":null}`, `{"records":{"a":null},"order":["a"]}`, strings.Repeat("[", 1<<16)} {
		require.Error(t, Import(t.Context(), dir, strings.NewReader(text), &strings.Builder{}), text[:min(len(text), 20)])
		err := ImportSDK(t.Context(), dir, strings.NewReader(text), SDKImport{Agent: "me"}, &strings.Builder{})
		require.Error(t, err, text[:min(len(text), 20)])
		require.NoDirExists(t, dir)
	}
	require.NoError(t, ImportSDK(t.Context(), dir, strings.NewReader(`{"records":{},"order":[],"version":"1.0"}`), SDKImport{Agent: "me"}, &strings.Builder{}))
	require.DirExists(t, dir)
}

// TestSalvageWithoutAnything makes an empty directory of one in which nothing can be read any more.
func TestSalvageWithoutAnything(t *testing.T) {
	root := t.TempDir()
	src, dst := filepath.Join(root, "src"), filepath.Join(root, "dst")
	d, err := pebble.Open(src, options())
	require.NoError(t, err)
	var b store.Batch
	b.Set([]byte("mo"), []byte("12345678"))
	require.NoError(t, store.Write(t.Context(), d, &b))
	require.NoError(t, d.Close())
	files, err := filepath.Glob(filepath.Join(src, "*"))
	require.NoError(t, err)
	for _, f := range files {
		require.NoError(t, os.WriteFile(f, []byte("garbage"), 0o600))
	}
	var out strings.Builder
	require.NoError(t, Salvage(t.Context(), src, dst, &out))
	require.Contains(t, out.String(), "lost: "+filepath.Join(src, "sw4rm.format"))
	require.Contains(t, out.String(), "copied: 0 records")
	out.Reset()
	require.NoError(t, Verify(t.Context(), dst, &out))
	require.Contains(t, out.String(), "whole: ")
	require.ErrorContains(t, Verify(t.Context(), src, &out), "is damaged in 1 places")
}

// TestSDKAttempts imports operations that were sent several times under one token.
func TestSDKAttempts(t *testing.T) {
	const text = `{"version":"1.0","order":["a1","a2","b1","b2","c1","c2"],"records":{
		"a1":{"message_id":"a1","direction":"out","ts_ms":1700000000000,"ack_stage":1,"envelope":{"idempotency_token":"a","payload":"x"}},
		"a2":{"message_id":"a2","direction":"out","ts_ms":1700000001000,"ack_stage":2,"envelope":{"idempotency_token":"a","payload":"x"}},
		"b1":{"message_id":"b1","direction":"out","ts_ms":1700000002000,"ack_stage":1,"envelope":{"idempotency_token":"b","payload":"x"}},
		"b2":{"message_id":"b2","direction":"out","ts_ms":1700000003000,"ack_stage":3,"envelope":{"idempotency_token":"b","payload":"x"}},
		"c1":{"message_id":"c1","direction":"out","ts_ms":1700000004000,"ack_stage":5,"error_code":99,"envelope":{"idempotency_token":"c","payload":"x"}},
		"c2":{"message_id":"c2","direction":"out","ts_ms":1700000005000,"ack_stage":0,"envelope":{"idempotency_token":"c","payload":"x"}}
	}}`
	for _, test := range []struct {
		to, counts string
		ends       []string
	}{
		{"", "4 operations (0 of them open)", []string{"TIMED_OUT a1 a2", "FULFILLED b1 b2", "FAILED c1", "TIMED_OUT c2"}},
		{"agent:next", "4 operations (2 of them open)", []string{"NONE a1 a2", "FULFILLED b1 b2", "FAILED c1", "NONE c2"}},
	} {
		dir := filepath.Join(t.TempDir(), "new")
		var log strings.Builder
		require.NoError(t, ImportSDK(t.Context(), dir, strings.NewReader(text), SDKImport{Agent: "me", To: test.to}, &log))
		require.Contains(t, log.String(), "imported: "+test.counts)
		require.Contains(t, log.String(), "\n2 records were further attempts of these operations")
		require.Equal(t, test.to == "", strings.Contains(log.String(), "\n2 operations had no outcome"), log.String())
		var ends []string
		require.NoError(t, read(dir, func(r store.Reader, _ Kind) error {
			return activity.Walk(t.Context(), r, func(rec activity.Record) error {
				end := ack.Stage(rec.Out.GetOutcome().GetStage()).String()
				for _, a := range rec.Out.GetAttempts() {
					end += " " + a.GetMessageId()
				}
				ends = append(ends, end)
				return nil
			})
		}))
		require.Equal(t, test.ends, ends)
	}
}

// TestSDKExportOfAMessageToItself keeps the sent side of a message that has two, and says what it leaves out.
func TestSDKExportOfAMessageToItself(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "me")
	require.NoError(t, write(t.Context(), dir, func(s store.Store) error {
		b, err := activity.Open(t.Context(), s, activity.Config{})
		require.NoError(t, err)
		_, _, err = b.RecordOut(t.Context(), activity.Draft{Record: &storagepb.OutRecord{Token: "t", To: "agent:me"}, MessageID: "m"})
		require.NoError(t, err)
		for _, id := range []string{"m", "other"} {
			_, _, err = b.RecordIn(t.Context(), activity.Arrival{
				Envelope: &commonpb.Envelope{MessageId: id, IdempotencyToken: "t-" + id, ProducerId: "me"}, To: "agent:me",
			})
			require.NoError(t, err)
		}
		return b.Settle(t.Context())
	}))
	var out, log strings.Builder
	require.NoError(t, ExportSDK(t.Context(), dir, "me", &out, &log))
	require.Contains(t, log.String(), "exported: 2 records\nleft out: the received side of 1 messages")
	for _, name := range []string{"audit_proof", "timestamp", "hlc_timestamp"} {
		require.Contains(t, log.String(), name)
	}
	var file sdkFile
	require.NoError(t, json.Unmarshal([]byte(out.String()), &file))
	require.Equal(t, []string{"m", "other"}, file.Order)
	require.Equal(t, "out", file.Records["m"].Direction)
	require.Equal(t, "in", file.Records["other"].Direction)
}

// TestSDKExportWithoutPayloads counts the messages whose payloads are not kept any more, which the file shows as empty.
func TestSDKExportWithoutPayloads(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "me")
	now := time.Now()
	require.NoError(t, write(t.Context(), dir, func(s store.Store) error {
		b, err := activity.Open(t.Context(), s, activity.Config{KeepAge: time.Minute, Now: func() time.Time { return now }})
		require.NoError(t, err)
		for _, id := range []string{"handled", "new"} {
			_, rec, err := b.RecordIn(t.Context(), activity.Arrival{Envelope: &commonpb.Envelope{
				MessageId: id, IdempotencyToken: id, ProducerId: "you", ContentType: "text/plain", Payload: []byte("payload"),
			}, To: "agent:me"})
			require.NoError(t, err)
			if id == "handled" {
				_, err = b.FinishIn(t.Context(), rec.GetSequence(), activity.Ending{Outcome: &storagepb.Outcome{Stage: commonpb.AckStage_FULFILLED}, NewID: func() string { return "a" }})
				require.NoError(t, err)
				now = now.Add(time.Hour)
				_, err = b.Prune(t.Context())
				require.NoError(t, err)
			}
		}
		return b.Settle(t.Context())
	}))
	var out, log strings.Builder
	require.NoError(t, ExportSDK(t.Context(), dir, "me", &out, &log))
	require.Contains(t, log.String(), "exported: 2 records\nwithout payload: 1 records, whose payloads are not kept any more")
	var file sdkFile
	require.NoError(t, json.Unmarshal([]byte(out.String()), &file))
	require.Zero(t, file.Records["handled"].Envelope.ContentLength)
	require.EqualValues(t, len("payload"), file.Records["new"].Envelope.ContentLength)
}
