package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"log/slog"
	"os"
	"time"

	"github.com/sw4rm/sw4rm-go/examples/review/internal/analyse"
	"github.com/sw4rm/sw4rm-go/examples/review/internal/ledger"
	reviewv1 "github.com/sw4rm/sw4rm-go/examples/review/proto/acme/review/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// reviewer implements reviewv1.ReviewerHandler.
type reviewer struct {
	log    *slog.Logger
	ledger *ledger.Ledger
	// pause is how much longer a review takes than it needs.
	pause time.Duration
}

// PullRequestOpened tells the reviewer that files are coming.
func (r *reviewer) PullRequestOpened(ctx context.Context, msg *reviewv1.PullRequestOpenedRequest) error {
	info, _ := exchange.InfoFrom(ctx)
	r.log.InfoContext(ctx, "a pull request was opened", "from", info.From, "title", msg.GetPullRequest(), "files", msg.GetFiles())
	return nil
}

// Review examines one file and returns its findings.
func (r *reviewer) Review(ctx context.Context, req *reviewv1.ReviewRequest) (*reviewv1.ReviewResponse, error) {
	if req.GetPath() == "" {
		return nil, ack.Rejectf(ack.ValidationError, "the path is empty")
	}
	if sum := sha256.Sum256(req.GetSource()); !bytes.Equal(sum[:], req.GetSha256()) {
		return nil, ack.Rejectf(ack.ValidationError, "sha256 is not that of the source of %s", req.GetPath())
	}
	entry := r.entry(ctx, req)
	if err := r.ledger.Append(entry); err != nil {
		return nil, err
	}
	if err := r.wait(ctx); err != nil {
		return nil, err
	}
	res := analyse.Source(req.GetPath(), req.GetSource())
	res.RunId = entry.RunID
	r.log.InfoContext(ctx, "reviewed", "path", req.GetPath(), "findings", len(res.GetFindings()), "attempt", entry.Attempt, "run", entry.Run)
	entry.At, entry.Ended = time.Now(), true
	return res, r.ledger.Append(entry)
}

func (r *reviewer) entry(ctx context.Context, req *reviewv1.ReviewRequest) ledger.Entry {
	info, _ := exchange.InfoFrom(ctx)
	return ledger.Entry{
		At: time.Now(), RunID: rand.Text(), PID: os.Getpid(),
		Token: info.Token, Path: req.GetPath(), Run: info.Run, Attempt: info.Attempt,
	}
}

// wait returns the context's error when it ends before the pause does.
func (r *reviewer) wait(ctx context.Context) error {
	if r.pause <= 0 {
		return nil
	}
	t := time.NewTimer(r.pause)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
