package agenttest_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	reviewv1 "github.com/sw4rm/sw4rm-go/examples/review/proto/acme/review/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/agenttest"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// reviewer counts what it is asked to review, and in which run.
type reviewer struct {
	reviewv1.UnimplementedReviewerHandler
	runs []int
}

func (r *reviewer) Review(ctx context.Context, req *reviewv1.ReviewRequest) (*reviewv1.ReviewResponse, error) {
	info, _ := exchange.InfoFrom(ctx)
	r.runs = append(r.runs, info.Run)
	return &reviewv1.ReviewResponse{Lines: int32(len(req.GetSource()))}, nil
}

func (r *reviewer) PullRequestOpened(context.Context, *reviewv1.PullRequestOpenedRequest) error {
	return nil
}

func request(path string) *reviewv1.ReviewRequest {
	source := []byte("package a")
	sum := sha256.Sum256(source)
	return &reviewv1.ReviewRequest{Path: path, Source: source, Sha256: sum[:]}
}

func start(t *testing.T, agents ...*agent.Agent) {
	t.Helper()
	for _, a := range agents {
		if err := a.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

var toReviewer = address.Agent("reviewer-1")

// newReview starts a net with a reviewer and a client.
func newReview(t *testing.T, opts ...agenttest.Option) (*agenttest.Net, *reviewer, *agent.Agent) {
	t.Helper()
	net := agenttest.New(t, opts...)
	server, client, r := net.Agent("reviewer-1"), net.Agent("client"), &reviewer{}
	reviewv1.HandleReviewer(server, r)
	start(t, server, client)
	return net, r, client
}

// What an agent has sent and handled comes back with its types.
func TestSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := agenttest.New(t)
		server, client := net.Agent("reviewer-1"), net.Agent("client")
		reviewv1.HandleReviewer(server, &reviewer{})
		start(t, server, client)
		caller := reviewv1.NewReviewerCaller(client, toReviewer)
		for _, path := range []string{"a.go", "b.go"} {
			if _, err := caller.Review(t.Context(), request(path)); err != nil {
				t.Fatal(err)
			}
		}
		sent := agenttest.Sent(client, reviewv1.ReviewerExchanges.Review)
		handled := agenttest.Handled(server, reviewv1.ReviewerExchanges.Review)
		if len(sent) != 2 || sent[1].GetPath() != "b.go" {
			t.Errorf("sent %v", sent)
		}
		if len(handled) != 2 || handled[0].GetPath() != "a.go" {
			t.Errorf("handled %v", handled)
		}
		if other := agenttest.Sent(client, reviewv1.ReviewerExchanges.PullRequestOpened); len(other) != 0 {
			t.Errorf("sent %v", other)
		}
	})
}

// It happened, but the sender was not told: the sender finds out, and the handler runs once.
func TestDropAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := agenttest.New(t)
		client, r := net.Agent("client"), &reviewer{}
		start(t, client)
		net.DropAnswer("client", 2)
		sent, err := reviewv1.NewReviewerSender(client, toReviewer).Review(t.Context(), request("a.go"))
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s := sent.Status(); !s.Attempts[0].AcceptedAt.IsZero() {
			t.Error("the sender was told")
		}
		server := net.Agent("reviewer-1")
		reviewv1.HandleReviewer(server, r)
		start(t, server)
		if _, err := sent.Response(t.Context()); err != nil {
			t.Error(err)
		}
		if len(r.runs) != 1 || len(sent.Status().Attempts) != 1 {
			t.Errorf("%d runs, %d attempts", len(r.runs), len(sent.Status().Attempts))
		}
	})
}

// A message that is delivered twice is handled once, and its reply that comes twice is taken once.
func TestDuplicate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, r, client := newReview(t)
		net.Duplicate("reviewer-1", 1)
		net.Duplicate("client", 1)
		res, err := reviewv1.NewReviewerCaller(client, toReviewer).Review(t.Context(), request("a.go"))
		if err != nil || res.GetLines() != 9 {
			t.Errorf("%v, %v", res, err)
		}
		time.Sleep(time.Hour)
		if len(r.runs) != 1 {
			t.Errorf("the handler ran %d times", len(r.runs))
		}
	})
}

// A reply that comes later than the caller waits is not lost: the reply handler gets it.
func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := agenttest.New(t)
		server, client := net.Agent("reviewer-1"), net.Agent("client")
		reviewv1.HandleReviewer(server, &reviewer{})
		late := make(chan int32, 1)
		reviewv1.ReviewerExchanges.Review.HandleReply(client,
			func(ctx context.Context, _ *reviewv1.ReviewRequest, res *reviewv1.ReviewResponse, err error) error {
				if info, _ := exchange.InfoFrom(ctx); info.Late {
					late <- res.GetLines()
				}
				return nil
			})
		start(t, server, client)
		net.Delay("client", 1, 2*time.Minute) // the schema gives a caller one
		_, err := reviewv1.NewReviewerCaller(client, toReviewer).Review(t.Context(), request("a.go"))
		if !errors.Is(err, &ack.Error{Stage: ack.TimedOut}) {
			t.Errorf("%v", err)
		}
		if lines := <-late; lines != 9 {
			t.Errorf("%d lines", lines)
		}
	})
}

// Wherever the reviewer dies, the request gets its reply after the restart, and the handler does not run again once its
// outcome is recorded.
func TestCrashAt(t *testing.T) {
	runs := map[agenttest.CrashPoint]string{
		agenttest.AfterReceived: "[2]",   // the first run had not come to the handler's first line
		agenttest.AfterRead:     "[2]",   // nor here
		agenttest.BeforeOutcome: "[1 2]", // side effects happen again: use the token, or the run
		agenttest.AfterOutcome:  "[1]",
	}
	for point, want := range runs {
		t.Run(point.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net, r, client := newReview(t)
				crashed := net.CrashAt("reviewer-1", point)
				sent, err := reviewv1.NewReviewerSender(client, toReviewer).Review(t.Context(), request("a.go"))
				if err != nil {
					t.Fatal(err)
				}
				<-crashed
				time.Sleep(time.Hour)
				stage := ack.Read
				if point == agenttest.AfterReceived {
					stage = ack.Received
				}
				if s := sent.Status(); s.Stage != stage || s.Done {
					t.Errorf("before the restart: %v, done %t", s.Stage, s.Done)
				}
				again := net.Reopen("reviewer-1")
				reviewv1.HandleReviewer(again, r)
				start(t, again)
				if res, err := sent.Response(t.Context()); err != nil || res.GetLines() != 9 {
					t.Errorf("%v, %v", res, err)
				}
				if got := fmt.Sprint(r.runs); got != want {
					t.Errorf("runs %s, want %s", got, want)
				}
				if n := len(sent.Status().Attempts); n != 1 {
					t.Errorf("%d attempts", n)
				}
			})
		})
	}
}

// The sender dies as soon as its message is stored: the next process sends it, and resumes the handle.
func TestCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, r, client := newReview(t)
		net.StopRouter()
		sent, err := reviewv1.NewReviewerSender(client, toReviewer).Review(t.Context(), request("a.go"))
		if err != nil {
			t.Fatal(err)
		}
		ref := sent.Ref()
		net.Crash("client")
		again := net.Reopen("client")
		start(t, again)
		net.StartRouter()
		resumed, err := reviewv1.ReviewerExchanges.Review.Resume(t.Context(), again, ref)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := resumed.Response(t.Context()); err != nil || len(r.runs) != 1 {
			t.Errorf("%v, %d runs", err, len(r.runs))
		}
	})
}

// The router restarts while messages wait in it: none is lost, and their order stays.
func TestRestartRouter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := agenttest.New(t)
		client := net.Agent("client")
		start(t, client)
		sender := reviewv1.NewReviewerSender(client, toReviewer)
		var sent []*exchange.Delivery
		for n := range 3 {
			d, err := sender.PullRequestOpened(t.Context(), &reviewv1.PullRequestOpenedRequest{Files: int32(n)},
				exchange.WithCorrelation("talk"))
			if err != nil {
				t.Fatal(err)
			}
			sent = append(sent, d)
		}
		synctest.Wait()
		net.RestartRouter()
		server := net.Agent("reviewer-1")
		reviewv1.HandleReviewer(server, &reviewer{})
		start(t, server)
		for _, d := range sent {
			if err := d.Outcome(t.Context()); err != nil {
				t.Error(err)
			}
		}
		handled := agenttest.Handled(server, reviewv1.ReviewerExchanges.PullRequestOpened)
		for n, m := range handled {
			if m.GetFiles() != int32(n) {
				t.Errorf("message %d has %d files", n, m.GetFiles())
			}
		}
		if len(handled) != 3 {
			t.Errorf("%d handled", len(handled))
		}
	})
}

// totalLines is code of a user's that sends.
func totalLines(ctx context.Context, c reviewv1.ReviewerCaller, paths ...string) (int32, error) {
	var total int32
	for _, path := range paths {
		res, err := c.Review(ctx, request(path))
		if err != nil {
			return total, fmt.Errorf("review %s: %w", path, err)
		}
		total += res.GetLines()
	}
	return total, nil
}

// A Fake stands for the agent and everything behind it.
func TestFake(t *testing.T) {
	fake := agenttest.NewFake(t)
	reviewv1.ReviewerExchanges.Review.Handle(fake, func(_ context.Context, req *reviewv1.ReviewRequest) (*reviewv1.ReviewResponse, error) {
		if req.GetPath() == "bad.go" {
			return nil, ack.Rejectf(ack.PermissionDenied, "not this one")
		}
		return &reviewv1.ReviewResponse{Lines: 5}, nil
	})
	caller := reviewv1.NewReviewerCaller(fake, toReviewer)
	if n, err := totalLines(t.Context(), caller, "a.go", "b.go"); n != 10 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	_, err := totalLines(t.Context(), caller, "bad.go")
	if !errors.Is(err, &ack.Error{Stage: ack.Rejected, Code: ack.PermissionDenied}) {
		t.Errorf("%v", err)
	}
	if sent := agenttest.Sent(fake, reviewv1.ReviewerExchanges.Review); len(sent) != 3 || sent[2].GetPath() != "bad.go" {
		t.Errorf("%v", sent)
	}
}

// collect is code of a user's that is given handles.
func collect(ctx context.Context, reviews []*exchange.Pending[*reviewv1.ReviewResponse]) (lines int32, failed int) {
	for _, p := range reviews {
		res, err := p.Response(ctx)
		if err != nil {
			failed++
			continue
		}
		lines += res.GetLines()
	}
	return lines, failed
}

// Handles with given results need no agent at all.
func TestGivenHandles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open, answer := agenttest.Pending[*reviewv1.ReviewResponse]()
		go func() {
			time.Sleep(time.Hour)
			answer(&reviewv1.ReviewResponse{Lines: 3}, nil)
		}()
		lines, failed := collect(t.Context(), []*exchange.Pending[*reviewv1.ReviewResponse]{
			agenttest.Replied(&reviewv1.ReviewResponse{Lines: 4}, nil),
			agenttest.Replied[*reviewv1.ReviewResponse](nil, ack.Failf(ack.ToolTimeout, "too slow")),
			open,
		})
		if lines != 7 || failed != 1 {
			t.Errorf("%d lines, %d failed", lines, failed)
		}
		if err := agenttest.Delivered(nil).Wait(t.Context(), ack.Received); err != nil {
			t.Error(err)
		}
	})
}
