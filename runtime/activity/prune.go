package activity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

const (
	// pruneStep is how many records are removed under one hold of the lock.
	pruneStep = 128
	// rangeFrom is from how many neighbours on one tombstone is better than one each.
	rangeFrom = 8
)

// pruning is one Prune.
type pruning struct {
	b      *Buffer
	now    time.Time
	result PruneResult
}

// step is one change of a pruning.
type step struct {
	p *pruning
	t *tx
	// outs, ins and bodies are the numbers of what goes.
	outs, ins, bodies []uint64
	// outFrames and inFrames are those of outs and ins that have frames.
	outFrames, inFrames []uint64
	// moved are places that went into another class.
	moved map[class]uint64
	// result counts what goes.
	result PruneResult
}

// Prune removes what need not be kept any more, a little at a time, so that others can work in between: handled
// operations beyond KeepBodies or KeepAge; unhandled ones KeepAge after their end or after Open, whichever is later, or
// beyond MaxDedupBytes; those with a content key or a caller's key after DedupWindow, when they become one of the former;
// payloads of received messages beyond KeepBodies or KeepAge, and their records after InKeep. What is active, or owes
// envelopes, stays, and so do the results of operations that an active message's handler may send again.
func (b *Buffer) Prune(ctx context.Context) (PruneResult, error) {
	p := &pruning{b: b, now: b.cfg.Now()}
	err := p.run(ctx)
	if p.result.Unhandled > 0 {
		b.cfg.Logger.Warn("results that nobody handled were removed", slog.Int("operations", p.result.Unhandled))
	}
	if err != nil {
		return p.result, fmt.Errorf("prune activity buffer: %w", err)
	}
	return p.result, nil
}

func (p *pruning) run(ctx context.Context) error {
	over := func(at time.Time, keep time.Duration) bool { return p.now.Sub(at) >= keep }
	later := func(at time.Time) time.Time {
		if at.Before(p.b.opened) {
			return p.b.opened
		}
		return at
	}
	cfg := p.b.cfg
	for _, c := range []struct {
		class   class
		expired func(kept, totals) bool
		act     func(*step, kept) (bool, error)
		held    class
	}{
		{outKeyed, func(k kept, _ totals) bool { return over(k.at, cfg.DedupWindow) }, (*step).release, 0},
		{outUnhandled, func(k kept, t totals) bool {
			return over(later(k.at), cfg.KeepAge) || t[outUnhandled].bytes > cfg.MaxDedupBytes
		}, (*step).removeOut, outHeld},
		{outHandled, func(k kept, t totals) bool {
			return over(k.at, cfg.KeepAge) || t[outHandled].records > int64(cfg.KeepBodies)
		}, (*step).removeOut, outHeld},
		{inFull, func(k kept, t totals) bool {
			return over(k.at, min(cfg.KeepAge, cfg.InKeep)) || t[inFull].records > int64(cfg.KeepBodies)
		}, (*step).removeBody, 0},
		{inBare, func(k kept, _ totals) bool { return over(k.at, cfg.InKeep) }, (*step).removeIn, inHeld},
	} {
		if err := p.oldest(ctx, c.class, c.expired, c.act, c.held); err != nil {
			return err
		}
	}
	if err := p.held(ctx, outHeld, (*step).removeOut); err != nil {
		return err
	}
	return p.held(ctx, inHeld, (*step).removeIn)
}

// oldest takes records out of a class, oldest first, for as long as they are expired. Those that something still holds go
// into another class.
func (p *pruning) oldest(ctx context.Context, c class, expired func(kept, totals) bool, act func(*step, kept) (bool, error), to class) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := p.locked(func(s *step) (int, error) {
			ks, err := p.b.keptFrom(c, p.b.low[c], pruneStep)
			if err != nil {
				return 0, err
			}
			n := 0
			for n < len(ks) && expired(ks[n], s.t.meta.totals) {
				s.t.meta.totals.remove(c, ks[n].bytes)
				held, err := act(s, ks[n])
				if err != nil {
					return 0, err
				}
				if held {
					s.move(to, ks[n])
				}
				n++
			}
			if n > 0 {
				first, last := keptKey(c, ks[0].end), keptKey(c, ks[n-1].end+1)
				s.t.batch.DeleteRange(first, last)
				s.moved[c] = ks[n-1].end + 1
			}
			return n, nil
		})
		if err != nil || n < pruneStep {
			return err
		}
	}
}

// held looks at records that were kept beyond their time, and removes those that nothing holds any more.
func (p *pruning) held(ctx context.Context, c class, act func(*step, kept) (bool, error)) error {
	from := uint64(0)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := p.locked(func(s *step) (int, error) {
			ks, err := p.b.keptFrom(c, from, pruneStep)
			if err != nil {
				return 0, err
			}
			for _, k := range ks {
				held, err := act(s, k)
				if err != nil {
					return 0, err
				}
				if !held {
					s.t.drop(c, k)
				}
				from = k.end + 1
			}
			return len(ks), nil
		})
		if err != nil || n < pruneStep {
			return err
		}
	}
}

// locked makes one change.
func (p *pruning) locked(fn func(*step) (int, error)) (int, error) {
	b := p.b
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &step{p: p, t: b.begin(), moved: map[class]uint64{}}
	n, err := fn(s)
	if err != nil || n == 0 {
		return 0, err
	}
	s.t.removeNumbers(s.outs, keyOutDone, keyOutBody, keyOutReply)
	s.t.removeNumbers(s.ins, keyInDone, keyInReply, keyInBody)
	s.t.removeNumbers(s.bodies, keyInBody)
	for _, seq := range s.outFrames {
		s.t.removeFrames(keyOutFrame, seq)
	}
	for _, seq := range s.inFrames {
		s.t.removeFrames(keyInFrame, seq)
	}
	if s.t.batch.Len() == 0 {
		return n, nil
	}
	if _, err := b.commit(s.t, false, "remove records"); err != nil {
		return 0, err
	}
	for c, end := range s.moved {
		b.low[c] = end
	}
	r := &p.result
	r.Out, r.In, r.Bodies, r.Unhandled = r.Out+s.result.Out, r.In+s.result.In, r.Bodies+s.result.Bodies, r.Unhandled+s.result.Unhandled
	return n, nil
}

// keptFrom returns at most n records of a class from a place on.
func (b *Buffer) keptFrom(c class, from uint64, n int) ([]kept, error) {
	var out []kept
	start := keptKey(c, from)
	err := b.store.Scan(start, after(start[:len(start)-8]), func(key, value []byte) error {
		k, err := decodeKept(key, value)
		if err != nil {
			return damaged(key, err)
		}
		if out = append(out, k); len(out) == n {
			return store.ErrStop
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the order of endings: %w", err)
	}
	return out, nil
}

// move puts a record into another class.
func (s *step) move(c class, k kept) {
	s.t.keep(c, k)
	low, ok := s.moved[c]
	if !ok {
		low = s.p.b.low[c]
	}
	s.moved[c] = min(low, k.end)
}

// release moves an operation whose deduplication window is over to where others of its kind are.
func (s *step) release(k kept) (held bool, err error) {
	rec, err := s.p.b.finishedOut(k.seq)
	if err != nil {
		return false, missing(k, err)
	}
	if rec.GetHandled() {
		s.move(outHandled, k)
	} else {
		s.move(outUnhandled, k)
	}
	return false, nil
}

// removeOut removes an operation. What the handler of an active message may send again is held.
func (s *step) removeOut(k kept) (held bool, err error) {
	rec, err := s.p.b.finishedOut(k.seq)
	if err != nil {
		return false, missing(k, err)
	}
	if rec.GetKeyKind() == storagepb.KeyKind_KEY_KIND_DERIVED && s.p.b.in.byToken[rec.GetParentToken()] > 0 {
		return true, nil
	}
	for _, a := range rec.GetAttempts() {
		s.t.batch.Delete(textKey(keyOutMessage, a.GetMessageId()))
	}
	s.t.batch.Delete(textNumberKey(keyOutToken, k.seq, rec.GetToken(), rec.GetTo()))
	s.t.batch.Delete(textNumberKey(keyOutTalk, k.seq, rec.GetCorrelationId()))
	if !rec.GetHandled() {
		s.t.taken(rec)
		s.result.Unhandled++
	}
	s.outs = append(s.outs, k.seq)
	if rec.GetStream() != nil {
		s.outFrames = append(s.outFrames, k.seq)
	}
	s.result.Out++
	return false, nil
}

// removeBody removes a received message's payload.
func (s *step) removeBody(k kept) (held bool, err error) {
	s.bodies = append(s.bodies, k.seq)
	s.result.Bodies++
	s.move(inBare, k)
	return false, nil
}

// removeIn removes a received message. One that owes envelopes is held.
func (s *step) removeIn(k kept) (held bool, err error) {
	rec, _, err := s.p.b.findIn(k.seq)
	if err != nil {
		return false, missing(k, err)
	}
	if len(rec.GetOwed()) > 0 {
		return true, nil
	}
	s.t.forgetIn(rec)
	s.ins = append(s.ins, k.seq)
	if rec.GetStream() != nil {
		s.inFrames = append(s.inFrames, k.seq)
	}
	s.result.In++
	return false, nil
}

// missing makes of a record that is listed and not there what it is.
func missing(k kept, err error) error {
	if errors.Is(err, ErrUnknown) {
		return damaged(keptKey(0, k.end), fmt.Errorf("record %d is listed and missing", k.seq))
	}
	return err
}

// removeNumbers removes what lies under numbers, neighbours by one range.
func (t *tx) removeNumbers(seqs []uint64, prefixes ...string) {
	slices.Sort(seqs)
	for len(seqs) > 0 {
		n := 1
		for n < len(seqs) && seqs[n] == seqs[n-1]+1 {
			n++
		}
		for _, prefix := range prefixes {
			if n >= rangeFrom {
				t.batch.DeleteRange(numberKey(prefix, seqs[0]), numberKey(prefix, seqs[n-1]+1))
				continue
			}
			for _, seq := range seqs[:n] {
				t.batch.Delete(numberKey(prefix, seq))
			}
		}
		seqs = seqs[n:]
	}
}
