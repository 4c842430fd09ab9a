package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/wrapperspb"

	routerpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/router"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
)

func TestBufferLs(t *testing.T) {
	w := populated(t)
	require.Equal(t, "sw4rm: data directory "+w.dir("_up")+" is in use by another process. Fix: stop that process, or use another directory",
		w.fails(4, "buffer", "ls", w.dir("_up")))
	w.stopServices()

	lines := columns(w.ok("buffer", "ls", w.dir("client-1")))
	require.Len(t, lines, 6)
	require.Equal(t, "KIND|NUMBER|STAGE|CODE|TRIES|SINCE|ENDED|PEER|EXCHANGE|TOKEN|NOTE", lines[0])
	line := anyTime.ReplaceAllString(lines[4], "TIME")
	require.Regexp(t, `^operation\|4\|REJECTED\|VALIDATION_ERROR\|1\|TIME\|TIME\|agent:server-1\|test.v1.Words/Shout\|client-1:test.v1.Words/Shout:[0-9a-f]{16}\|it is bad.in two lines$`, line)
	require.Regexp(t, `^operation\|5\|ACCEPTED\|-\|1\|TIME\|-\|agent:nobody\|`, anyTime.ReplaceAllString(lines[5], "TIME"))

	require.Equal(t, lines[4:5], columns(w.ok("buffer", "ls", "--failed", "--data", w.dir("client-1")))[1:])
	require.Equal(t, lines[5:6], columns(w.ok("buffer", "ls", "--open", w.dir("client-1")))[1:])
	require.Equal(t, lines[4:6], columns(w.ok("buffer", "ls", "--limit=2", w.dir("client-1")))[1:])
	require.Equal(t, "nothing to show\n", w.ok("buffer", "ls", "--failed", w.dir("server-1")))
	require.Len(t, columns(w.ok("buffer", "ls", w.dir("server-1"))), 5)

	var item map[string]any
	require.NoError(t, json.Unmarshal([]byte(w.ok("buffer", "ls", "--json", "--failed", w.dir("client-1"))), &item))
	require.Equal(t, "it is bad\nin two lines", item["note"])
	require.Equal(t, true, item["failed_unhandled"])
	attempt := item["attempts"].([]any)[0].(map[string]any)
	for _, field := range []string{"message_id", "stage", "code", "created_at", "accepted_at", "received_at", "ended_at"} {
		require.NotEmpty(t, attempt[field], field)
	}

	all := columns(w.ok("buffer", "ls", w.dir("_up")))
	require.Contains(t, strings.Join(all, "\n"), "client-1 to agent:nobody|DATA|")
	dead := columns(w.ok("buffer", "ls", "--failed", w.dir("_up")))
	require.Len(t, dead, 2)
	require.Regexp(t, `^dead_letter\|\d+\|DEAD\|INTERNAL_ERROR\|1\|TIME\|TIME\|a to agent:foreign\|DATA\|t-refused-1\|permanent_failure`, anyTime.ReplaceAllString(dead[1], "TIME"))
	require.NoError(t, json.Unmarshal([]byte(w.ok("buffer", "ls", "--json", "--failed", w.dir("_up"))), &item))
	require.Equal(t, "{}", item["excerpt"])
	require.Equal(t, "permanent", item["classification"])
	require.Equal(t, "INTERNAL_ERROR", item["code"])
	require.Equal(t, "application/json", item["content_type"])
	require.Greater(t, item["envelope_bytes"], item["payload_bytes"])
	handout := item["deliveries"].([]any)[0].(map[string]any)
	require.Equal(t, "foreign", handout["agent"])
	require.Equal(t, "the agent refused it", handout["end"])
	require.NotEmpty(t, handout["at"])
	require.NotEmpty(t, handout["ended_at"])
}

// TestBufferDead lets a dead letter wait again, and removes it after it has died once more.
func TestBufferDead(t *testing.T) {
	w := populated(t)
	require.Contains(t, w.fails(4, "buffer", "drop", w.dir("_up"), "1"), "in use")
	w.stopServices()
	dead := func() string {
		return strings.Split(columns(w.ok("buffer", "ls", "--failed", w.dir("_up")))[1], "|")[1]
	}
	number := dead()
	w.fails(2, "buffer", "requeue", w.dir("_up"))
	w.fails(2, "buffer", "requeue", w.dir("_up"), "one")
	w.fails(4, "buffer", "requeue", w.dir("client-1"), number)
	require.Contains(t, w.fails(1, "buffer", "drop", w.dir("_up"), "123456789"), "there is no such dead letter. Fix: see sw4rm buffer ls")
	require.Regexp(t, "^dead letter "+number+" waits again, as message \\d+\n$", w.ok("buffer", "requeue", w.dir("_up"), number))
	require.Equal(t, "nothing to show\n", w.ok("buffer", "ls", "--failed", w.dir("_up")))
	require.Contains(t, w.ok("buffer", "ls", "--open", w.dir("_up")), "a to agent:foreign")
	w.ok("buffer", "verify", w.dir("_up"))

	w.installation = up(t, nil, anyPorts(w.dir("_up"))...)
	w.refuse()
	w.stopServices()
	number = dead()
	require.Equal(t, "dead letter "+number+" is removed\n", w.ok("buffer", "drop", w.dir("_up"), number))
	require.Equal(t, "nothing to show\n", w.ok("buffer", "ls", "--failed", w.dir("_up")))
	w.ok("buffer", "verify", w.dir("_up"))
}

// TestBufferData lists what a handler has stored, in the directory itself and in everything that is made of it.
func TestBufferData(t *testing.T) {
	w := populated(t)
	w.stopServices()
	dir := w.dir("server-1")
	require.Equal(t, []string{"KEY|BYTES|VALUE", "last|6|three\ufffd"}, columns(w.ok("buffer", "data", dir)))
	all := w.ok("buffer", "data", "--json", dir)
	require.JSONEq(t, `{"key":"last","bytes":6,"value":"dGhyZWUb"}`, all)
	require.Equal(t, "nothing to show\n", w.ok("buffer", "data", w.dir("client-1")))
	w.fails(4, "buffer", "data", w.dir("_up"))

	lines := filepath.Join(w.root, "server-1.jsonl")
	require.NoError(t, os.WriteFile(lines, []byte(w.ok("buffer", "export", dir)), 0o600))
	w.ok("buffer", "import", w.dir("imported"), lines)
	w.ok("buffer", "salvage", dir, w.dir("salvaged"))
	w.ok("buffer", "backup", dir, filepath.Join(w.root, "server-1.tar"))
	w.ok("buffer", "restore", filepath.Join(w.root, "server-1.tar"), w.dir("restored"))
	for _, name := range []string{"imported", "salvaged", "restored"} {
		require.Equal(t, all, w.ok("buffer", "data", "--json", w.dir(name)), name)
		require.Contains(t, w.ok("buffer", "verify", w.dir(name)), "1 entries of data", name)
	}
}

func TestBufferVerify(t *testing.T) {
	w := populated(t)
	w.stopServices()
	out := w.ok("buffer", "verify", w.dir("client-1"))
	require.Regexp(t, `(?s)^read: \d+ files, \d+ bytes, \d+ records; format 1, store [0-9a-f]{32}, opened 1 times
agent: 5 operations \(1 open, 1 failed and unhandled\), 0 received messages \(0 open\), 0 frames, 0 entries of data, \d+ index entries
whole: nothing is damaged, and nothing contradicts itself
$`, out)
	require.Contains(t, w.ok("buffer", "verify", w.dir("server-1")), "4 received messages (0 open)")
	require.Regexp(t, `services: \d messages wait, 1 dead letters, \d+ tokens, \d agents seen, \d agents registered`, w.ok("buffer", "verify", w.dir("_up")))

	// A change of each file is named with the file.
	seen := 0
	for _, file := range files(t, w.dir("client-1")) {
		name, data := filepath.Base(file), read(t, file)
		if len(data) == 0 || strings.HasPrefix(name, "OPTIONS") || strings.HasPrefix(name, "marker") || name == "sw4rm.synced" {
			continue
		}
		damaged := append([]byte{}, data...)
		damaged[len(damaged)/2] ^= 4
		require.NoError(t, os.WriteFile(file, damaged, 0o600))
		code, out, errs := inside(t, "buffer", "verify", w.dir("client-1"))
		require.Equal(t, 5, code, "%s: %s%s", name, out, errs)
		require.Contains(t, out, "damaged: "+file, name)
		require.Contains(t, errs, "sw4rm buffer salvage "+w.dir("client-1")+" NEW-DIR")
		require.NoError(t, os.WriteFile(file, data, 0o600))
		seen++
	}
	require.GreaterOrEqual(t, seen, 3)
	w.ok("buffer", "verify", w.dir("client-1"))
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	return list
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	return data
}

func TestBufferSalvage(t *testing.T) {
	w := populated(t)
	w.stopServices()
	out := w.ok("buffer", "salvage", w.dir("client-1"), w.dir("whole"))
	require.Contains(t, out, "nothing is missing\n")
	require.Equal(t, w.ok("buffer", "ls", w.dir("client-1")), w.ok("buffer", "ls", w.dir("whole")))
	w.ok("buffer", "verify", w.dir("whole"))
	waiting := w.ok("buffer", "ls", w.dir("_up"))
	require.Contains(t, w.ok("buffer", "salvage", w.dir("_up"), w.dir("whole-up")), ": agents ask it for what they have open, and it takes what it does not know\n")
	require.Equal(t, waiting, w.ok("buffer", "ls", w.dir("whole-up")))
	again := up(t, nil, anyPorts(w.dir("whole-up"))...)
	stream, err := routerpb.NewRouterServiceClient(dial(t, again.router)).StreamIncoming(t.Context(), &routerpb.StreamRequest{AgentId: "nobody"})
	require.NoError(t, err)
	item, err := stream.Recv()
	require.NoError(t, err, "what waited is delivered")
	require.Equal(t, "client-1", item.GetMsg().GetProducerId())
	require.Equal(t, 0, again.stop(syscall.SIGTERM), again.stderr)

	for n, name := range []string{"client-1", "server-1", "_up"} {
		for _, file := range files(t, w.dir(name)) {
			if !strings.HasSuffix(file, ".sst") && !strings.HasSuffix(file, ".log") {
				continue
			}
			data := read(t, file)
			for i, change := range [][]byte{data[:len(data)*2/3], append(append([]byte{}, data[:len(data)/2]...), 0xa5)} {
				if i == 1 && len(data) > 0 {
					change = append(change, data[len(change):]...)
				}
				if len(change) == 0 {
					continue
				}
				require.NoError(t, os.WriteFile(file, change, 0o600))
				target := w.dir("salvaged-" + name + filepath.Base(file) + string(rune('a'+i)))
				out := w.ok("buffer", "salvage", w.dir(name), target)
				require.Contains(t, w.ok("buffer", "verify", target), "whole:", out)
				if code, _, _ := inside(t, "buffer", "verify", w.dir(name)); code == 5 {
					require.Contains(t, out, "lost: "+file, out)
				}
				w.ok("buffer", "ls", target)
				if n < 2 {
					d, err := pebble.Open(target, pebble.Options{Logger: slog.New(slog.DiscardHandler)})
					require.NoError(t, err)
					require.NoError(t, d.Close())
				}
			}
			require.NoError(t, os.Remove(file))
			target := w.dir("salvaged-" + name + filepath.Base(file) + "-gone")
			out := w.ok("buffer", "salvage", w.dir(name), target)
			require.Contains(t, w.ok("buffer", "verify", target), "whole:", out)
			code, told, _ := inside(t, "buffer", "verify", w.dir(name))
			require.Equal(t, 5, code, told)
			require.Contains(t, told, file+": the file is missing")
			require.Contains(t, out, "lost: "+file)
			require.NotContains(t, out, "nothing is missing")
			require.NoError(t, os.WriteFile(file, data, 0o600))
		}
	}
	require.Contains(t, w.fails(4, "buffer", "salvage", w.dir("client-1"), w.dir("whole")), "it exists and is not empty. Fix: name a directory that does not exist")
}

func TestBufferExportAndImport(t *testing.T) {
	w := populated(t)
	w.stopServices()
	for _, id := range []string{"client-1", "server-1"} {
		exported := w.ok("buffer", "export", w.dir(id))
		file := filepath.Join(w.root, id+".jsonl")
		require.NoError(t, os.WriteFile(file, []byte(exported), 0o600))
		w.ok("buffer", "import", w.dir(id+"-again"), file)
		w.ok("buffer", "verify", w.dir(id+"-again"))
		require.Equal(t, w.ok("buffer", "ls", "--json", w.dir(id)), w.ok("buffer", "ls", "--json", w.dir(id+"-again")))
		_, first, _ := strings.Cut(exported, "\n")
		_, again, _ := strings.Cut(w.ok("buffer", "export", w.dir(id+"-again")), "\n")
		require.Equal(t, first, again)

		cut := filepath.Join(w.root, id+"-cut.jsonl")
		require.NoError(t, os.WriteFile(cut, []byte(exported[:len(exported)-20]), 0o600))
		require.Contains(t, w.fails(1, "buffer", "import", w.dir("never"), cut), "Fix: use an export that is whole")
		_, err := os.Stat(w.dir("never"))
		require.ErrorIs(t, err, fs.ErrNotExist)
	}
	require.Contains(t, w.fails(4, "buffer", "export", w.dir("_up")), "is that of the services (sw4rm up). Fix: use sw4rm buffer backup")
}

// TestBufferOfOtherSDKs carries a buffer to the format of the other SDKs and back.
func TestBufferOfOtherSDKs(t *testing.T) {
	w := populated(t)
	w.stopServices()
	code, out, log := inside(t, "buffer", "export", "--format=sdk-json", w.dir("client-1"))
	require.Equal(t, 0, code, log)
	require.Contains(t, log, "exported: 5 records\nnot in this format, or left out: addresses")
	require.Contains(t, log, "what handlers have stored")
	require.Contains(t, w.fails(4, "buffer", "export", "--format=sdk-json", w.dir("_up")), "is that of the services (sw4rm up). Fix: name the data directory of an agent")
	require.NoError(t, os.Rename(w.dir("server-1"), w.dir("_other")))
	odd := w.fails(2, "buffer", "export", "--format=sdk-json", w.dir("_other"))
	require.Contains(t, odd, `the agent id "_other" has '_' at byte 1. Fix: give the agent's id with --agent`)
	require.Equal(t, 1, strings.Count(odd, "Fix: "), odd)
	var file struct {
		Records map[string]struct {
			MessageID string `json:"message_id"`
			Direction string
			Envelope  map[string]any
			TsMs      int64  `json:"ts_ms"`
			AckStage  int    `json:"ack_stage"`
			ErrorCode int    `json:"error_code"`
			AckNote   string `json:"ack_note"`
		}
		Order   []string
		Version string
	}
	require.NoError(t, json.Unmarshal([]byte(out), &file))
	require.Equal(t, "1.0", file.Version)
	require.Len(t, file.Order, 5)
	stages := []int{}
	for _, id := range file.Order {
		r := file.Records[id]
		require.Equal(t, id, r.MessageID)
		require.Equal(t, "out", r.Direction)
		require.Equal(t, "client-1", r.Envelope["producer_id"])
		require.Equal(t, []any{"payload"}, r.Envelope["_bytes_fields"])
		stages = append(stages, r.AckStage)
	}
	require.Equal(t, []int{3, 3, 3, 4, 0}, stages)
	saved := filepath.Join(w.root, "sw4rm_activity.json")
	require.NoError(t, os.WriteFile(saved, []byte(out), 0o600))
	w.ok("buffer", "import", "--format=sdk-json", w.dir("back"), saved)
	failed := columns(w.ok("buffer", "ls", "--failed", w.dir("back")))
	require.Len(t, failed, 2)
	require.Contains(t, failed[1], "TIMED_OUT|ACK_TIMEOUT|")
	require.Contains(t, failed[1], "outcome_unknown: imported at stage NONE")
	w.ok("buffer", "import", "--format=sdk-json", "--to=agent:nobody", w.dir("sent-on"), saved)
	require.Len(t, columns(w.ok("buffer", "ls", "--open", w.dir("sent-on"))), 2)
	w.ok("buffer", "verify", w.dir("sent-on"))

	// What the other SDKs write in their ways.
	foreign := filepath.Join(w.root, "foreign.json")
	require.NoError(t, os.WriteFile(foreign, []byte(foreignBuffer), 0o600))
	code, _, log = inside(t, "buffer", "import", "--format=sdk-json", "--agent=me", w.dir("foreign"), foreign)
	require.Equal(t, 0, code, log)
	require.Contains(t, log, "left out: message gone, which is in the order and has no record\n")
	require.Contains(t, log, "imported: 1 operations (0 of them open), 2 received messages; 2 acknowledgements and replies left out\n")
	lines := columns(w.ok("buffer", "ls", w.dir("foreign")))
	require.Contains(t, lines[1], "operation|1|FAILED|INTERNAL_ERROR|")
	require.Contains(t, lines[2], "received|1|FULFILLED|")
	require.Contains(t, lines[3], "received|2|FAILED|INTERNAL_ERROR|")
	w.ok("buffer", "verify", w.dir("foreign"))
	exported := w.ok("buffer", "export", w.dir("foreign"))
	for _, payload := range []string{"aGVsbG8=", "aGk=", "eyJhIjoxfQ=="} { // hello, hi, {"a":1}
		require.Contains(t, exported, payload)
	}
	for name, broken := range map[string]string{
		"no JSON":     `{"records"`,
		"other JSON":  `[1]`,
		"unordered":   `{"records":{"a":{"message_id":"a"}},"order":[]}`,
		"other name":  `{"records":{"a":{"message_id":"b"}},"order":["a"]}`,
		"no way":      `{"records":{"a":{"message_id":"a","direction":"up"}},"order":["a"]}`,
		"no base64":   `{"records":{"a":{"message_id":"a","direction":"in","envelope":{"payload":"%","_bytes_fields":["payload"]}}},"order":["a"]}`,
		"no stage":    `{"records":{"a":{"message_id":"a","direction":"in","ack_stage":"SOON"}},"order":["a"]}`,
		"no producer": `{"records":{"a":{"message_id":"a","direction":"in"}},"order":["a"]}`,
	} {
		require.NoError(t, os.WriteFile(foreign, []byte(broken), 0o600))
		require.Contains(t, w.fails(4, "buffer", "import", "--format=sdk-json", "--agent=me", w.dir("never"), foreign), "the input", name)
	}
}

const foreignBuffer = `{"version":"1.0","order":["o","i1","i1","i2","a","r","gone"],"records":{
 "o":{"message_id":"o","direction":"out","ts_ms":1700000000000,"ack_stage":10,"error_code":99,"ack_note":"broken","envelope":
   {"message_id":"o","producer_id":"me","message_type":2,"content_type":"text/plain","payload":[104,101,108,108,111]}},
 "i1":{"message_id":"i1","direction":"in","ts_ms":1700000000001,"ack_stage":"fulfilled","error_code":0,"ack_note":"","envelope":
   {"message_id":"i1","producer_id":"you","idempotency_token":"you:x:1","message_type":"DATA","payload":"aGk=","_payload_is_b64":true}},
 "i2":{"message_id":"i2","direction":"in","ts_ms":1700000000002,"ack_stage":0,"error_code":0,"ack_note":null,"envelope":
   {"message_id":"i2","producer_id":"you","message_type":2,"payload":"{\"a\":1}"}},
 "a":{"message_id":"a","direction":"in","ts_ms":1700000000003,"ack_stage":0,"envelope":{"message_id":"a","producer_id":"you","message_type":5}},
 "r":{"message_id":"r","direction":"in","ts_ms":1700000000004,"ack_stage":0,"envelope":{"message_id":"r","producer_id":"you","message_type":2,"idempotency_token":"t:response:v1"}}
}}`

// TestBufferBackupAndRestore restores an agent's older copy: the router refuses it, unless it is a store of its own.
func TestBufferBackupAndRestore(t *testing.T) {
	w := populated(t)
	was := w.ok("buffer", "ls", "--json", w.dir("client-1"))
	archive := filepath.Join(w.root, "client-1.tar")
	require.Regexp(t, `^backup of store [0-9a-f]{32} after opening 1: \d+ files in `, w.ok("buffer", "backup", w.dir("client-1"), archive))
	w.ok("buffer", "backup", w.dir("client-1"), w.dir("copy"))
	require.Contains(t, w.fails(4, "buffer", "backup", w.dir("client-1"), archive), archive+": it exists. Fix: ")

	// Nothing has happened since: the copy takes the place, more than once.
	for _, backup := range []string{archive, w.dir("copy")} {
		require.NoError(t, os.RemoveAll(w.dir("client-1")))
		w.ok("buffer", "restore", backup, w.dir("client-1"))
		require.Equal(t, was, w.ok("buffer", "ls", "--json", w.dir("client-1")))
	}
	require.NoError(t, w.served("client-1"))

	// It was opened since: the copy is refused.
	require.NoError(t, w.served("client-1"))
	require.NoError(t, os.RemoveAll(w.dir("client-1")))
	w.ok("buffer", "restore", archive, w.dir("client-1"))
	err := w.served("client-1")
	require.ErrorIs(t, err, agent.ErrStoreRolledBack)
	require.ErrorContains(t, err, "Fix: use the newest data directory, or restore this one with sw4rm buffer restore --new-instance")

	require.NoError(t, os.RemoveAll(w.dir("client-1")))
	require.Contains(t, w.ok("buffer", "restore", "--new-instance", archive, w.dir("client-1")), "is a store of its own, ")
	require.Equal(t, was, w.ok("buffer", "ls", "--json", w.dir("client-1")))
	w.stopServices()
	w.installation = up(t, []string{"SW4RM_DELIVERY_LEASE_SECONDS=0.2"}, anyPorts(w.dir("_up"))...)
	require.NoError(t, w.served("client-1"))
	w.stopServices()

	// Backups that are not what they were.
	data := read(t, archive)
	broken := filepath.Join(w.root, "broken.tar")
	for name, content := range map[string][]byte{
		"cut":    data[:len(data)/3],
		"no tar": []byte("hello"),
	} {
		require.NoError(t, os.WriteFile(broken, content, 0o600))
		code, _, errs := inside(t, "buffer", "restore", broken, w.dir("never"))
		require.Contains(t, []int{4, 5}, code, "%s: %s", name, errs)
		require.Contains(t, errs, "Fix: use ", name)
	}
	var empty bytes.Buffer
	require.NoError(t, tar.NewWriter(&empty).Close())
	for name, content := range map[string][]byte{"an archive of nothing": empty.Bytes(), "nothing": nil} {
		require.NoError(t, os.WriteFile(broken, content, 0o600))
		require.Equal(t, "sw4rm: "+broken+": it holds no sw4rm.format, so it is no data directory. Fix: use a file or directory that sw4rm buffer backup has made",
			w.fails(4, "buffer", "restore", broken, w.dir("never")), name)
	}
	var newer bytes.Buffer
	const format = "sw4rm format 2\nsomething new\ncrc32c f8c438e8\n"
	one := tar.NewWriter(&newer)
	require.NoError(t, one.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "sw4rm.format", Size: int64(len(format)), Mode: 0o600}))
	_, err = one.Write([]byte(format))
	require.NoError(t, errors.Join(err, one.Close()))
	require.NoError(t, os.WriteFile(broken, newer.Bytes(), 0o600))
	require.Contains(t, w.fails(4, "buffer", "restore", broken, w.dir("never")), "sw4rm: data directory "+broken+" has format 2, and this version reads up to 1. Fix: ")
	at := strings.Index(string(data), "sw4rm format 1") + 40 // inside of the format file's id
	data[at] ^= 1
	require.NoError(t, os.WriteFile(broken, data, 0o600))
	require.Contains(t, w.fails(5, "buffer", "restore", broken, w.dir("never")), "sw4rm.format: its checksum does not match. Fix: use another backup")
	_, err = os.Stat(w.dir("never"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	left, err := filepath.Glob(filepath.Join(w.root, "sw4rm-data", "*.unfinished-*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

// served runs an agent until the router has answered it, or refused it.
func (w *world) served(id string) error {
	w.t.Helper()
	server, client := w.agent("server-1"), w.agent(id)
	shout().Handle(server, func(_ context.Context, req *text) (*text, error) { return req, nil })
	defer func() { require.NoError(w.t, server.Close()) }()
	require.NoError(w.t, server.Start(w.t.Context()))
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- client.Run(ctx) }()
	called := make(chan error, 1)
	pending, err := shout().Send(ctx, exchange.NewClient(client, address.Agent("server-1")), wrapperspb.String("again"))
	require.NoError(w.t, err)
	go func() {
		_, err := pending.Response(ctx)
		called <- err
	}()
	select {
	case err := <-ended:
		cancel()
		<-called
		return err
	case err := <-called:
		cancel()
		return errors.Join(err, <-ended)
	}
}

func TestBufferUpgrade(t *testing.T) {
	w := populated(t)
	w.stopServices()
	require.Equal(t, w.dir("client-1")+" has format 1, the newest: nothing to do\n", w.ok("buffer", "upgrade", w.dir("client-1")))
	_, _, err := pebble.Upgrade(t.Context(), w.dir("client-1"), pebble.Options{Logger: slog.New(slog.DiscardHandler)}, []pebble.Step{{
		From: 1, Run: noChange,
	}})
	require.NoError(t, err)
	for _, verb := range []string{"upgrade", "ls", "verify", "export"} {
		require.Equal(t, "sw4rm: data directory "+w.dir("client-1")+" has format 2, and this version reads up to 1. Fix: use the version that wrote it, or a newer one",
			w.fails(4, "buffer", verb, w.dir("client-1")))
	}
}

func TestBufferErrors(t *testing.T) {
	w := &world{t: t, root: t.TempDir()}
	hint := ". Fix: name the data directory of an agent, such as ./sw4rm-data/ID, or of the services, such as ./sw4rm-data/_up"
	empty, file := filepath.Join(w.root, "empty"), filepath.Join(w.root, "file")
	require.NoError(t, os.Mkdir(empty, 0o700))
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, verb := range []string{"ls", "verify", "export", "upgrade"} {
		require.Equal(t, "sw4rm: data directory "+w.root+"/none: it does not exist"+hint, w.fails(4, "buffer", verb, w.root+"/none"))
		require.Equal(t, "sw4rm: data directory "+empty+": it holds no sw4rm.format, so it is no data directory"+hint, w.fails(4, "buffer", verb, empty))
		require.Equal(t, "sw4rm: data directory "+file+": it is no directory"+hint, w.fails(4, "buffer", verb, file))
		require.Equal(t, "sw4rm: sw4rm buffer "+verb+" needs DIR, and 0 arguments are given. Fix: see sw4rm buffer "+verb+" --help", w.fails(2, "buffer", verb))
		require.Contains(t, w.ok("buffer", verb, "--help"), "Examples:\n  sw4rm buffer "+verb)
	}
	require.NoFileExists(t, filepath.Join(empty, "LOCK"))
	require.Contains(t, w.fails(4, "buffer", "salvage", w.root+"/none", w.root+"/new"), "it does not exist")
	require.Contains(t, w.fails(4, "buffer", "restore", w.root+"/none.tar", w.root+"/new"), "it cannot be read")
	require.Contains(t, w.fails(4, "buffer", "import", w.root+"/new", w.root+"/none.jsonl"), "it cannot be read")
	require.Contains(t, w.fails(2, "buffer", "ls", "--limit=-1", empty), "--limit is -1")
	require.Contains(t, w.fails(2, "buffer", "export", "--format=xml", empty), `the format "xml" is unknown`)
	require.Contains(t, w.fails(2, "buffer", "import", "--to=mars", w.root+"/new", file), "--to=mars cannot be used")
	require.Contains(t, w.fails(2, "buffer", "tidy"), `"tidy" is no command of sw4rm buffer`)
	require.NoDirExists(t, w.root+"/new")
}

func noChange(context.Context, store.Store) error { return nil }
