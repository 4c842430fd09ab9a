package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sw4rm/sw4rm-go/examples/review/internal/ledger"
	reviewv1 "github.com/sw4rm/sw4rm-go/examples/review/proto/acme/review/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/agenttest"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

const source = "package a\n\nfunc F() { panic(1) }\n"

func request(path string) *reviewv1.ReviewRequest {
	sum := sha256.Sum256([]byte(source))
	return &reviewv1.ReviewRequest{PullRequest: "test", Path: path, Sha256: sum[:], Source: []byte(source)}
}

// newReviewer returns a reviewer with a ledger, and the ledger's name.
func newReviewer(t *testing.T) (*reviewer, string) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "ledger")
	l, err := ledger.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return &reviewer{log: slog.New(slog.DiscardHandler), ledger: l}, name
}

func start(t *testing.T, agents ...*agent.Agent) {
	t.Helper()
	for _, a := range agents {
		if err := a.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReview sends a file twice: the second request is the same review, so the handler runs once.
func TestReview(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, name := newReviewer(t)
		net := agenttest.New(t)
		server, client := net.Agent("reviewer-1"), net.Agent("client")
		reviewv1.HandleReviewer(server, r)
		start(t, server, client)
		caller := reviewv1.NewReviewerCaller(client, address.Capability("code.review"))
		if err := caller.PullRequestOpened(t.Context(), &reviewv1.PullRequestOpenedRequest{PullRequest: "test", Files: 1}); err != nil {
			t.Fatal(err)
		}
		first, err := caller.Review(t.Context(), request("a.go"))
		if err != nil {
			t.Fatal(err)
		}
		var checks []reviewv1.Check
		for _, f := range first.GetFindings() {
			checks = append(checks, f.GetCheck())
		}
		if len(checks) != 2 || checks[0] != reviewv1.Check_CHECK_MISSING_DOC || checks[1] != reviewv1.Check_CHECK_PANIC {
			t.Errorf("found %v", checks)
		}
		second, err := caller.Review(t.Context(), request("a.go"))
		if err != nil {
			t.Fatal(err)
		}
		if second.GetRunId() != first.GetRunId() || first.GetRunId() == "" {
			t.Errorf("run %q, then %q", first.GetRunId(), second.GetRunId())
		}
		expectRuns(t, name, 1)
	})
}

func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, name := newReviewer(t)
		net := agenttest.New(t)
		server, client := net.Agent("reviewer-1"), net.Agent("client")
		reviewv1.HandleReviewer(server, r)
		start(t, server, client)
		caller := reviewv1.NewReviewerCaller(client, address.Agent("reviewer-1"))
		changed := request("b.go")
		changed.Source = []byte("package b\n")
		for _, req := range []*reviewv1.ReviewRequest{request(""), changed} {
			_, err := caller.Review(t.Context(), req)
			if !errors.Is(err, &ack.Error{Stage: ack.Rejected, Code: ack.ValidationError}) {
				t.Errorf("%q: %v", req.GetPath(), err)
			}
		}
		expectRuns(t, name, 0)
	})
}

// TestRestart stops the reviewer in the middle of a review. The next process runs the handler again, and knows it.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, name := newReviewer(t)
		net := agenttest.New(t)
		disk := store.NewMemory()
		before := net.AgentOn(agent.Config{ID: "reviewer-1", DrainTimeout: time.Second}, disk)
		client := net.Agent("client")
		r.pause = time.Hour
		reviewv1.HandleReviewer(before, r)
		start(t, before, client)
		sender := reviewv1.NewReviewerSender(client, address.Agent("reviewer-1"))
		sent, err := sender.Review(t.Context(), request("a.go"))
		if err != nil {
			t.Fatal(err)
		}
		if err := sent.Wait(t.Context(), ack.Read); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := before.Close(); err != nil {
			t.Fatal(err)
		}
		var run int
		after := net.AgentOn(agent.Config{ID: "reviewer-1"}, disk.Reopen())
		reviewv1.ReviewerExchanges.Review.Handle(after, func(ctx context.Context, req *reviewv1.ReviewRequest) (*reviewv1.ReviewResponse, error) {
			info, _ := exchange.InfoFrom(ctx)
			run = info.Run
			return (&reviewer{log: r.log, ledger: r.ledger}).Review(ctx, req)
		})
		start(t, after)
		if _, err := sent.Response(t.Context()); err != nil {
			t.Fatal(err)
		}
		if run != 2 {
			t.Errorf("the handler was told that this is run %d", run)
		}
		expectRuns(t, name, 2)
	})
}

// expectRuns counts the runs in the ledger.
func expectRuns(t *testing.T, name string, want int) {
	t.Helper()
	entries, err := ledger.Read(name)
	if err != nil {
		t.Fatal(err)
	}
	runs := map[string]bool{}
	for _, e := range entries {
		runs[e.RunID] = true
	}
	if len(runs) != want {
		t.Errorf("%d runs, want %d: %+v", len(runs), want, entries)
	}
}
