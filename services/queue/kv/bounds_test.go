package kv_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/queue"
	"github.com/sw4rm/sw4rm-go/services/queue/kv"
)

// told returns what was logged since it was called last, a line each, without its time.
func (m *morgue) told() []string {
	text := strings.TrimSpace(m.log.String())
	m.log.Reset()
	if text == "" {
		return nil
	}
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		_, lines[i], _ = strings.Cut(l, " ")
	}
	return lines
}

func (m *morgue) says(parts ...string) {
	m.Helper()
	lines := m.told()
	require.Len(m, lines, len(parts), "%q", lines)
	for i, part := range parts {
		for _, p := range strings.Split(part, " … ") {
			require.Contains(m, lines[i], p)
		}
	}
}

func (m *morgue) offer(id, to string, want transportpb.Answer_State) {
	m.Helper()
	msg := message(id)
	msg.To, msg.At = to, m.now
	m.submit(msg, want)
}

// TestQueuesTell logs that a queue is nearly full, full, and has room again: once each, however many messages are refused, and
// also after a restart.
func TestQueuesTell(t *testing.T) {
	m := newMorgue(t, queue.Limits{MaxWork: 10})
	const at = " address=capability:a class=CLASS_WORK"
	offer := func(from, to int, want transportpb.Answer_State) {
		for i := from; i < to; i++ {
			m.offer(fmt.Sprint("m", i), "capability:a", want)
		}
	}
	bob := queue.Holder{Agent: "bob", Stream: 2}
	take := func(n int) {
		for range n {
			ds, err := m.Lease(m.ctx, queue.LeaseRequest{
				Holder: bob, Addresses: []string{"capability:a"}, Class: transportpb.Class_CLASS_WORK, MaxMessages: 1, Now: m.now, Until: m.now.Add(time.Minute),
			})
			require.NoError(t, err)
			require.Len(t, ds, 1)
			ok, err := m.Custody(m.ctx, bob, ds[0].Seq, ds[0].Envelope.GetMessageId())
			require.NoError(t, err)
			require.True(t, ok)
		}
	}
	offer(0, 7, transportpb.Answer_STATE_NEW)
	m.says()
	offer(7, 9, transportpb.Answer_STATE_NEW)
	m.says("level=WARN … bound=max_work used=8 of=10" + at)
	offer(9, 10, transportpb.Answer_STATE_NEW)
	m.says("level=ERROR … bound=max_work used=10 of=10" + at)
	for i := range 20 {
		offer(100, 110, transportpb.Answer_STATE_REFUSED)
		take(3)
		m.pass(time.Second)
		offer(10+3*i, 13+3*i, transportpb.Answer_STATE_NEW)
	}
	m.says()
	m.reopen()
	m.says("level=WARN … bound=max_work used=8 of=10"+at, "level=ERROR … bound=max_work used=10 of=10"+at)
	take(4)
	m.says()
	m.pass(time.Minute)
	m.says("level=INFO … there is room again … bound=max_work used=6 of=10" + at)
	m.pass(time.Minute)
	m.says()
}

// TestBoundsTell does so for all queues together and for agents.
func TestBoundsTell(t *testing.T) {
	m := newMorgue(t, queue.Limits{MaxWork: 100, MaxWaiting: 10, MaxAgents: 5, KeepAgents: time.Hour})
	for i := range 10 {
		m.offer(fmt.Sprint("m", i), fmt.Sprint("capability:c", i), transportpb.Answer_STATE_NEW)
	}
	m.says("level=WARN … bound=max_waiting used=8 of=10", "level=ERROR … bound=max_waiting used=10 of=10")
	m.offer("more", to, transportpb.Answer_STATE_REFUSED)
	m.says()

	for i := range 5 {
		_, err := m.Admit(m.ctx, queue.Holder{Agent: fmt.Sprint("a", i), Store: "s", Epoch: 1}, false)
		require.NoError(t, err)
	}
	m.says("level=WARN … bound=max_agents used=4 of=5", "level=ERROR … bound=max_agents used=5 of=5")
	got, err := m.Admit(m.ctx, queue.Holder{Agent: "one-more", Store: "s", Epoch: 1}, false)
	require.NoError(t, err)
	require.Equal(t, queue.RefusedFull, got)
	m.says()
	m.reopen()
	m.says("bound=max_agents used=5 of=5", "bound=max_waiting used=8 of=10", "bound=max_waiting used=10 of=10")
	m.expire() // nobody's custody was lost
	m.pass(2 * time.Hour)
	m.says("level=INFO … bound=max_agents used=0 of=5")
}

// TestFullDiskTells logs once that work is refused for want of room on the disk, and once that there is room again.
func TestFullDiskTells(t *testing.T) {
	var log bytes.Buffer
	disk := &fullDisk{Store: store.NewMemory(), full: true}
	e, err := kv.Open(t.Context(), disk, kv.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	offer := func(want transportpb.Answer_State) {
		a, err := queue.Submit(t.Context(), e, message("m"))
		require.NoError(t, err)
		require.Equal(t, want, a.State)
	}
	for range 3 {
		offer(transportpb.Answer_STATE_REFUSED)
		require.NoError(t, e.Prune(t.Context(), time.Now(), nobody))
	}
	require.Equal(t, 1, strings.Count(log.String(), "\n"))
	require.Contains(t, log.String(), "level=ERROR")
	require.Contains(t, log.String(), "min_free_disk: the disk of data has 1 bytes free")
	log.Reset()
	disk.full = false
	offer(transportpb.Answer_STATE_NEW)
	for range 3 {
		require.NoError(t, e.Prune(t.Context(), time.Now(), nobody))
	}
	require.Equal(t, 1, strings.Count(log.String(), "\n"))
	require.Contains(t, log.String(), `level=INFO msg="there is room again" bound=min_free_disk`)
}

// TestManyFullQueues bounds how many queues are logged one by one.
func TestManyFullQueues(t *testing.T) {
	m := newMorgue(t, queue.Limits{MaxWork: 1})
	for i := range 300 {
		m.offer(fmt.Sprint("m", i), fmt.Sprint("capability:c", i), transportpb.Answer_STATE_NEW)
		m.offer(fmt.Sprint("more", i), fmt.Sprint("capability:c", i), transportpb.Answer_STATE_REFUSED)
	}
	lines := m.told()
	require.Len(t, lines, 101)
	require.Contains(t, lines[100], "more addresses are nearly full than are logged one by one")
}
