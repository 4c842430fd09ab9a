package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sw4rm/sw4rm-go/examples/review/internal/result"
	reviewv1 "github.com/sw4rm/sw4rm-go/examples/review/proto/acme/review/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// maxOpen is how many messages are on their way at once; the buffer takes 10,000.
const maxOpen = 2000

// batch is one pull request.
type batch struct {
	agent exchange.Sender
	to    address.Address
	title string
	out   output
}

// sent is one file on its way.
type sent struct {
	path    string
	pending *exchange.Pending[*reviewv1.ReviewResponse]
}

// reviewed is one file that has come back, or failed to.
type reviewed struct {
	result.Result
	review *reviewv1.ReviewResponse
}

// review sends the files and waits for what comes back. It fails when a file was not reviewed.
func (b *batch) review(ctx context.Context, files []string) error {
	sender := reviewv1.NewReviewerSender(b.agent, b.to)
	opened, err := sender.PullRequestOpened(ctx, &reviewv1.PullRequestOpenedRequest{PullRequest: b.title, Files: int32(len(files))})
	if err != nil {
		return err
	}
	results, err := b.exchange(ctx, sender, files)
	if err != nil {
		return err
	}
	if err := opened.Outcome(ctx); err != nil {
		return fmt.Errorf("announce the pull request: %w", err)
	}
	slices.SortFunc(results, func(a, b reviewed) int { return strings.Compare(a.Path, b.Path) })
	b.out.done(results)
	if failed := count(results, func(r reviewed) bool { return r.Stage != ack.Fulfilled.String() || r.Changed }); failed > 0 {
		return fmt.Errorf("%d of %d files were not reviewed", failed, len(results))
	}
	return nil
}

// exchange sends the files while results come in.
func (b *batch) exchange(ctx context.Context, sender reviewv1.ReviewerSender, files []string) ([]reviewed, error) {
	slots := make(chan struct{}, maxOpen)
	came := make(chan reviewed)
	var waiting sync.WaitGroup
	var sendErr error
	go func() {
		defer close(came)
		sendErr = b.send(ctx, sender, files, slots, func(s sent) {
			waiting.Go(func() {
				came <- b.await(ctx, s)
				<-slots
			})
		})
		waiting.Wait()
	}()
	var results []reviewed
	for r := range came {
		b.out.result(r)
		results = append(results, r)
	}
	return results, sendErr
}

// send stores one message a file, and hands each to next.
func (b *batch) send(ctx context.Context, sender reviewv1.ReviewerSender, files []string, slots chan<- struct{}, next func(sent)) error {
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read what is to be reviewed: %w", err)
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		sum := sha256.Sum256(source)
		path := filepath.ToSlash(file)
		p, err := sender.Review(ctx, &reviewv1.ReviewRequest{PullRequest: b.title, Path: path, Sha256: sum[:], Source: source})
		if err != nil {
			return fmt.Errorf("send %s: %w", path, err)
		}
		next(sent{path, p})
	}
	b.out.stored(len(files))
	return nil
}

// await waits for one file's review, then reads its outcome again: whatever happened, it must be the same.
func (b *batch) await(ctx context.Context, s sent) reviewed {
	res, err := s.pending.Response(ctx)
	r := reviewed{Result: timeline(s.path, s.pending.Status()), review: res}
	if err != nil {
		r.Error = err.Error()
		return r
	}
	r.Findings, r.RunID = len(res.GetFindings()), res.GetRunId()
	again, err := reviewv1.ReviewerExchanges.Review.Resume(ctx, b.agent, s.pending.Ref())
	if err != nil {
		r.Changed, r.Error = true, fmt.Sprintf("read the outcome again: %v", err)
		return r
	}
	second, err := again.Response(ctx)
	if r.Changed = err != nil || second.GetRunId() != res.GetRunId(); r.Changed {
		r.Error = errors.Join(errors.New("the outcome was another one when it was read again"), err).Error()
	}
	return r
}

// timeline tells when the stages of a message were reached, counted from the send.
func timeline(path string, s exchange.Status) result.Result {
	r := result.Result{Path: path, Ref: string(s.Ref), Attempts: len(s.Attempts), Stage: s.Stage.String()}
	if !s.Done {
		r.Stage = ack.None.String()
	}
	if len(s.Attempts) == 0 {
		return r
	}
	r.SentAt = s.Attempts[0].CreatedAt
	after := func(first *time.Duration, at time.Time) *time.Duration {
		if first != nil || at.IsZero() {
			return first
		}
		d := at.Sub(r.SentAt)
		return &d
	}
	for _, at := range s.Attempts {
		r.Received, r.Read = after(r.Received, at.ReceivedAt), after(r.Read, at.ReadAt)
		if at.Stage == ack.Fulfilled {
			r.Fulfilled = after(r.Fulfilled, at.EndedAt)
		}
		r.EndedAt = at.EndedAt
	}
	return r
}

func count(results []reviewed, is func(reviewed) bool) int {
	n := 0
	for _, r := range results {
		if is(r) {
			n++
		}
	}
	return n
}
