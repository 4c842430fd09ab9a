package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// losses is how many directories are lost in one round of TestLostDirectory.
const losses = 9

// TestLostDirectory loses the data directories of sender, router and receiver, at three moments each, and looks for the
// answer that is promised for it.
func TestLostDirectory(t *testing.T) {
	rounds := (setting(t, envFaults, losses) + losses - 1) / losses
	t.Logf("repeat with: %s=%d go test ./cmd/sw4rm/internal/e2e -run '^TestLostDirectory$' -count=1 -v", envFaults, rounds*losses)
	lost := 0
	for _, test := range []struct {
		name string
		run  func(*testing.T, *scene)
	}{
		{"sender, while its message waits", senderLostWaiting},
		{"sender, while its message is handled", senderLostHandled},
		{"sender, and it sends the same again", senderLostAgain},
		{"router, while a message waits", routerLostWaiting},
		{"router, while a message is handled", routerLostHandled},
		{"router, which comes back from a backup", routerRestored},
		{"receiver, before its handler has ended", receiverLostHandled},
		{"receiver, with no attempt left", receiverLostForGood},
		{"receiver, after its outcome", receiverLostAfter},
	} {
		for n := range rounds {
			t.Run(fmt.Sprintf("%s/%d", test.name, n), func(t *testing.T) {
				t.Parallel()
				test.run(t, newScene(t))
			})
			lost++
		}
	}
	t.Logf("%d directories lost", lost)
}

// scene has the services, a sender and a receiver, whose handler waits until it is let go.
type scene struct {
	t        *testing.T
	ctx      context.Context
	services *services
	dir      string
	began    chan string
	release  chan struct{}
	said     logged // by the agents
	dial     grpc.DialOption
}

// logged takes the lines of a log, and drops those for which there is no room.
type logged chan string

// Write implements io.Writer.
func (l logged) Write(line []byte) (int, error) {
	select {
	case l <- string(line):
	default:
	}
	return len(line), nil
}

// saidUnasked waits until the new store of a sender has said that it got a reply to what it does not know.
func (s *scene) saidUnasked() {
	s.t.Helper()
	for {
		select {
		case line := <-s.said:
			if strings.Contains(line, "a reply answers no request of this agent") {
				return
			}
		case <-s.ctx.Done():
			s.t.Fatal("the reply that nobody knows was not spoken of")
		}
	}
}

func newScene(t *testing.T) *scene {
	// A sender asks after half a minute what became of a message that was received.
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	t.Cleanup(cancel)
	s := &scene{
		t: t, ctx: ctx, services: startServices(t, time.Second), dir: t.TempDir(),
		began: make(chan string, 100), release: make(chan struct{}, 100), said: make(logged, 1000),
		dial: grpc.EmptyDialOption{},
	}
	return s
}

// open opens an agent without starting it.
func (s *scene) open(id string) *agent.Agent {
	s.t.Helper()
	return ours(s.t, s.services, agent.Config{
		ID: id, DataDir: filepath.Join(s.dir, id), DrainTimeout: 10 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(s.said, nil)),
		DialOptions: []grpc.DialOption{s.dial},
	})
}

func (s *scene) sender() *agent.Agent {
	s.t.Helper()
	a := s.open("sender")
	require.NoError(s.t, a.Start(s.ctx))
	return a
}

func (s *scene) receiver() *agent.Agent {
	s.t.Helper()
	a := s.open("receiver")
	do.Handle(a, func(ctx context.Context, req *text) (*text, error) {
		s.began <- req.GetValue()
		select {
		case <-s.release:
			return wrapperspb.String(answerTo(req.GetValue())), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	require.NoError(s.t, a.Start(s.ctx))
	return a
}

// send sends a request to the receiver.
func (s *scene) send(from *agent.Agent, key string, opts ...exchange.SendOption) *exchange.Pending[*text] {
	s.t.Helper()
	p, err := do.Send(s.ctx, client(from, "receiver"), wrapperspb.String(key), opts...)
	require.NoError(s.t, err)
	return p
}

// accepted waits until the router has taken a message.
func (s *scene) accepted(p *exchange.Pending[*text]) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return !p.Status().Attempts[0].AcceptedAt.IsZero() }, patience, 5*time.Millisecond)
}

// lose closes an agent and removes its directory.
func (s *scene) lose(a *agent.Agent) {
	s.t.Helper()
	_ = a.Close() // it leaves what it must not forget, and then does
	require.NoError(s.t, os.RemoveAll(filepath.Join(s.dir, a.ID())))
}

// loseRouter kills the services and removes their directory.
func (s *scene) loseRouter() {
	s.t.Helper()
	s.services.Kill()
	require.NoError(s.t, os.RemoveAll(s.services.data))
}

// answered waits for the reply.
func (s *scene) answered(p *exchange.Pending[*text], key string) {
	s.t.Helper()
	res, err := p.Response(s.ctx)
	require.NoError(s.t, err)
	require.Equal(s.t, answerTo(key), res.GetValue())
}

// begins waits until the handler begins.
func (s *scene) begins() {
	s.t.Helper()
	select {
	case <-s.began:
	case <-s.ctx.Done():
		s.t.Fatal("the handler does not begin")
	}
}

func senderLostWaiting(t *testing.T, s *scene) {
	a := s.sender()
	p := s.send(a, "k")
	s.accepted(p)
	s.lose(a)
	again := s.sender()
	_, err := do.Resume(s.ctx, again, p.Ref())
	require.ErrorIs(t, err, exchange.ErrUnknownRef, "what was forgotten is said to be")
	s.release <- struct{}{}
	s.receiver()
	s.begins() // what the router has accepted does not depend on its sender
	s.saidUnasked()
}

func senderLostHandled(t *testing.T, s *scene) {
	a := s.sender()
	s.receiver()
	s.send(a, "k")
	s.begins()
	s.lose(a)
	s.sender()
	s.release <- struct{}{}
	s.saidUnasked()
}

func senderLostAgain(t *testing.T, s *scene) {
	a := s.sender()
	s.receiver()
	s.release <- struct{}{}
	s.answered(s.send(a, "k", exchange.WithKey("one")), "k")
	s.begins()
	s.lose(a)
	s.answered(s.send(s.sender(), "k", exchange.WithKey("one")), "k")
	require.Empty(t, s.began, "the recorded outcome, and no second run")
}

func routerLostWaiting(t *testing.T, s *scene) {
	a := s.sender()
	p := s.send(a, "k")
	s.accepted(p)
	s.loseRouter()
	s.services.start()
	s.receiver()
	s.release <- struct{}{}
	s.answered(p, "k")
	s.begins()
	require.Empty(t, s.began)
}

func routerLostHandled(t *testing.T, s *scene) {
	a := s.sender()
	s.receiver()
	p := s.send(a, "k")
	s.begins()
	s.loseRouter()
	s.release <- struct{}{}
	s.services.start()
	s.answered(p, "k")
	require.Empty(t, s.began, "the receiver's record decides")
}

func routerRestored(t *testing.T, s *scene) {
	a := s.sender()
	s.receiver()
	backup := filepath.Join(t.TempDir(), "backup")
	require.NoError(t, s.services.Stop(s.ctx))
	require.NoError(t, os.CopyFS(backup, os.DirFS(s.services.data)))
	s.services.start()
	p := s.send(a, "k", exchange.WithKey("one"))
	s.begins()
	s.loseRouter()
	require.NoError(t, os.CopyFS(s.services.data, os.DirFS(backup)))
	require.NoError(t, os.Chmod(s.services.data, 0o700))
	s.release <- struct{}{}
	s.services.start()
	s.answered(p, "k")
	require.Empty(t, s.began, "what the backup has forgotten, the receiver knows")
}

func receiverLostHandled(t *testing.T, s *scene) {
	a := s.sender()
	b := s.receiver()
	p := s.send(a, "k")
	s.begins()
	s.lose(b)
	s.release <- struct{}{}
	s.receiver()
	s.answered(p, "k")
	first := p.Status().Attempts[0]
	require.Equal(t, ack.Failed, first.Stage)
	require.Equal(t, ack.AgentUnavailable, first.Code)
	require.True(t, strings.HasPrefix(first.Note, "receiver_lost_state"), first.Note)
}

func receiverLostForGood(t *testing.T, s *scene) {
	a := s.sender()
	b := s.receiver()
	p := s.send(a, "k", exchange.MaxAttempts(1))
	s.begins()
	s.lose(b)
	s.receiver()
	_, err := p.Response(s.ctx)
	require.ErrorIs(t, err, &ack.Error{Stage: ack.Failed, Code: ack.AgentUnavailable})
	require.ErrorContains(t, err, "receiver_lost_state")
}

func receiverLostAfter(t *testing.T, s *scene) {
	a := s.sender()
	b := s.receiver()
	s.release <- struct{}{}
	p := s.send(a, "k", exchange.WithKey("one"))
	s.answered(p, "k")
	s.begins()
	s.lose(b)
	s.receiver()
	again := s.send(a, "k", exchange.WithKey("one"))
	s.answered(again, "k")
	require.Empty(t, s.began, "its sender has the outcome")
}

// TestReplacedDirectories starts an agent on a directory that is older than one that was seen, and on one that another has
// replaced.
func TestReplacedDirectories(t *testing.T) {
	for _, replaced := range []bool{false, true} {
		name := map[bool]string{false: "older copy", true: "replaced by another store"}[replaced]
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			require.NoError(t, s.open("receiver").Close())
			dir, backup := filepath.Join(s.dir, "receiver"), filepath.Join(t.TempDir(), "backup")
			require.NoError(t, os.CopyFS(backup, os.DirFS(dir)))
			admitted := func() {
				a, b := s.sender(), s.receiver()
				s.release <- struct{}{}
				s.answered(s.send(a, "k"), "k")
				s.begins()
				require.NoError(t, b.Close())
				require.NoError(t, a.Close())
			}
			require.NoError(t, s.open("receiver").Close()) // one epoch further than the copy
			if replaced {
				b := s.receiver()
				s.release <- struct{}{}
				a := s.sender()
				s.answered(s.send(a, "first"), "first")
				s.begins()
				require.NoError(t, a.Close())
				s.lose(b)
			}
			admitted()
			require.NoError(t, os.RemoveAll(dir))
			require.NoError(t, os.CopyFS(dir, os.DirFS(backup)))
			require.NoError(t, os.Chmod(dir, 0o700))
			old := s.receiver()
			select {
			case <-old.Failed():
				require.ErrorIs(t, old.Err(), agent.ErrStoreRolledBack)
				require.ErrorContains(t, old.Err(), "Fix: ")
			case <-s.ctx.Done():
				t.Fatal("the old directory is admitted")
			}
		})
	}
}

// TestRouterMoves lets the router come back at another address, which its name means from then on: agents that run find it
// there, and what they sent meanwhile arrives.
func TestRouterMoves(t *testing.T) {
	s := newScene(t)
	name := s.services.router
	var means atomic.Pointer[string]
	means.Store(&name)
	s.dial = grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
		if addr == name {
			addr = *means.Load()
		}
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	})
	a := s.sender()
	s.receiver()
	s.release <- struct{}{}
	s.answered(s.send(a, "before"), "before")
	s.services.Kill()
	p := s.send(a, "meanwhile")
	moved := freeAddr(t)
	require.NotEqual(t, name, moved)
	s.services.router = moved
	s.services.start()
	means.Store(&moved)
	s.release <- struct{}{}
	s.answered(p, "meanwhile")
}
