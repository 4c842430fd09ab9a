package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sw4rm/sw4rm-go/examples/review/internal/result"
	reviewv1 "github.com/sw4rm/sw4rm-go/examples/review/proto/acme/review/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/agenttest"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// canned is a reviewer that needs 20 ms, and refuses files named bad.go.
type canned struct {
	reviewv1.UnimplementedReviewerHandler
	opened int32
}

func (c *canned) PullRequestOpened(_ context.Context, msg *reviewv1.PullRequestOpenedRequest) error {
	c.opened = msg.GetFiles()
	return nil
}

func (c *canned) Review(ctx context.Context, req *reviewv1.ReviewRequest) (*reviewv1.ReviewResponse, error) {
	if filepath.Base(req.GetPath()) == "bad.go" {
		return nil, ack.Rejectf(ack.PermissionDenied, "not for me")
	}
	time.Sleep(20 * time.Millisecond)
	return &reviewv1.ReviewResponse{RunId: req.GetPath(), Findings: []*reviewv1.Finding{{
		Check: reviewv1.Check_CHECK_LONG_FUNCTION, Severity: reviewv1.Severity_SEVERITY_WARNING, Line: 7, Column: 1, Message: "too long",
	}}}, nil
}

// files writes Go files into a folder of the test's and goes there.
func files(t *testing.T, names ...string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for _, name := range names {
		if err := os.WriteFile(name, []byte("package a\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// play has the files reviewed by a canned reviewer, when there is one.
func play(t *testing.T, out output, reviewer *canned, names ...string) error {
	net := agenttest.New(t)
	client := net.Agent("client")
	if err := client.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if reviewer != nil {
		server := net.Agent("reviewer-1")
		reviewv1.HandleReviewer(server, reviewer)
		if err := server.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	b := &batch{agent: client, to: address.Capability("code.review"), title: "test", out: out}
	return b.review(ctx, names)
}

func TestText(t *testing.T) {
	files(t, "a.go", "b.go")
	synctest.Test(t, func(t *testing.T) {
		var w strings.Builder
		reviewer := &canned{}
		if err := play(t, &textOutput{w: &w, table: true}, reviewer, "a.go", "b.go"); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			"a.go:7:1: warning: too long (long-function)\n", "\n  b.go         1", "reviewed 2 of 2 files: errors 0, warnings 2, notes 0\n",
		} {
			if !strings.Contains(w.String(), want) {
				t.Errorf("%q is not in\n%s", want, w.String())
			}
		}
		if reviewer.opened != 2 {
			t.Errorf("the reviewer was told of %d files", reviewer.opened)
		}
	})
}

func TestJSON(t *testing.T) {
	files(t, "a.go", "bad.go")
	synctest.Test(t, func(t *testing.T) {
		var w strings.Builder
		err := play(t, &jsonOutput{w: &w}, &canned{}, "a.go", "bad.go")
		if err == nil || err.Error() != "1 of 2 files were not reviewed" {
			t.Errorf("error %v", err)
		}
		results := map[string]result.Result{}
		done := false
		for line := range strings.Lines(w.String()) {
			var e result.Event
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			if e.Result != nil {
				results[e.Result.Path] = *e.Result
			}
			done = e.Done
		}
		good, bad := results["a.go"], results["bad.go"]
		if !done || len(results) != 2 {
			t.Errorf("events:\n%s", w.String())
		}
		if good.Stage != "FULFILLED" || good.Findings != 1 || good.Attempts != 1 || good.RunID != "a.go" || good.Changed {
			t.Errorf("a.go: %+v", good)
		}
		if good.Received == nil || good.Read == nil || good.Fulfilled == nil || *good.Fulfilled < 20*time.Millisecond {
			t.Errorf("a.go's timeline: %+v", good)
		}
		if bad.Stage != "REJECTED" || bad.Fulfilled != nil || !strings.Contains(bad.Error, "PERMISSION_DENIED by reviewer-1: not for me") {
			t.Errorf("bad.go: %+v", bad)
		}
	})
}

// TestNobody has no reviewer: the client gives up, and says where its messages are.
func TestNobody(t *testing.T) {
	files(t, "a.go")
	synctest.Test(t, func(t *testing.T) {
		var w strings.Builder
		err := play(t, &textOutput{w: &w}, nil, "a.go")
		var open *exchange.Unfinished
		if !errors.As(err, &open) || open.Ref() == "" {
			t.Errorf("error %v", err)
		}
		if !strings.Contains(w.String(), "a.go: the message is stored as ") {
			t.Errorf("printed %q", w.String())
		}
	})
}
