package activity_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	storagepb "github.com/sw4rm/sw4rm-go/proto/sw4rm/storage/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// FuzzRecords puts something else into the place of the records whose keys begin with the same bytes. Whatever it is, the
// buffer opens or says that the record is damaged, works on or says so, and never panics.
func FuzzRecords(f *testing.F) {
	whole := recordedStore(f)
	for key, value := range whole {
		start := min(2, len(key))
		f.Add(key[:start], []byte(key[start:]), []byte(value), false)
		f.Add(key[:start], []byte(key[start:]), []byte(value)[:len(value)/2], true)
		f.Add(key[:start], []byte{}, []byte{0xff}, true)
	}
	f.Fuzz(func(t *testing.T, prefix string, key, value []byte, all bool) {
		s := store.NewMemory()
		var b store.Batch
		for key, is := range whole {
			if all && len(key) >= len(prefix) && key[:len(prefix)] == prefix {
				is = string(value)
			}
			b.Set([]byte(key), []byte(is))
		}
		b.Set(append([]byte(prefix), key...), value)
		require.NoError(t, store.Write(t.Context(), s, &b))
		w := newWorker()
		var err error
		w.Buffer, err = activity.Open(t.Context(), s, w.config())
		if err == nil {
			err = w.use(t.Context())
		}
		var damaged *store.DamagedError
		var refused *ack.Error
		expected := errors.As(err, &damaged) || errors.As(err, &refused) || errors.Is(err, activity.ErrUnknown) ||
			errors.Is(err, activity.ErrFinished) || errors.Is(err, activity.ErrOpen)
		if err != nil && !expected {
			t.Fatalf("it is no damage: %v", err)
		}
	})
}

// recordedStore returns what lies in a store after something of everything has happened.
func recordedStore(f *testing.F) map[string]string {
	s := store.NewMemory()
	w := newWorker()
	var err error
	w.Buffer, err = activity.Open(f.Context(), s, w.config())
	require.NoError(f, err)
	require.NoError(f, w.use(f.Context()))
	found := map[string]string{}
	require.NoError(f, s.Scan(nil, nil, func(key, value []byte) error {
		found[string(key)] = string(value)
		return nil
	}))
	return found
}

// worker does something of everything with a buffer. Its names are the same each time.
type worker struct {
	*activity.Buffer
	names *ground
	now   time.Time
}

func newWorker() *worker { return &worker{names: &ground{now: start}, now: start} }

func (w *worker) config() activity.Config {
	return activity.Config{Now: func() time.Time { return w.now }, Jitter: func() float64 { return 1 }, Logger: slog.New(slog.DiscardHandler)}
}

// use returns the first error.
func (w *worker) use(ctx context.Context) error {
	for _, do := range []func(context.Context) error{w.sendOnes, w.receiveOnes, w.look} {
		if err := do(ctx); err != nil {
			return err
		}
	}
	w.now = w.now.Add(48 * time.Hour)
	_, err := w.Prune(ctx)
	return err
}

// sendOnes sends one that stays open, one with a stream, and some that end.
func (w *worker) sendOnes(ctx context.Context) error {
	for n := range 5 {
		d := w.names.draft(func(r *storagepb.OutRecord) {
			r.KeyKind = storagepb.KeyKind(n%4 + 1)
			r.WantsReply, r.Streams = n == 2, n == 3
		})
		rec, _, err := w.RecordOut(ctx, d)
		if err != nil {
			return err
		}
		switch id := d.MessageID; n {
		case 0, 1:
			_, err = w.AckOut(ctx, ack.Ack{ForMessageID: id, Stage: ack.Stage(3 + n), Note: "note"}, "peer")
		case 2:
			_, err = w.ReplyOut(ctx, activity.Reply{Token: rec.GetToken(), CorrelationID: rec.GetCorrelationId(), From: "peer", MessageID: "reply", Body: body("x")})
			if err == nil {
				_, err = w.AckOut(ctx, ack.Ack{ForMessageID: id, Stage: ack.Failed}, "peer")
			}
		case 3:
			_, err = w.FramesOut(ctx, activity.Frames{
				Token: rec.GetToken(), CorrelationID: rec.GetCorrelationId(), From: "peer", Limit: 9,
				List: []activity.StreamFrame{{Run: 1, Number: 1, Body: body("1")}, {Run: 1, Number: 3, Body: body("3")}},
			})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// receiveOnes receives one that stays open, one with a stream, and some that end.
func (w *worker) receiveOnes(ctx context.Context) error {
	for n := range 4 {
		a := w.names.arrival(w.names.id("token"), 0)
		_, rec, err := w.RecordIn(ctx, a)
		if err != nil {
			return err
		}
		seq := rec.GetSequence()
		switch n {
		case 0:
			_, err = w.FinishIn(ctx, seq, activity.Ending{Outcome: outcome(ack.Failed, ack.InternalError, ""), Reply: body("y"), ReplyID: "r", NewID: w.names.newID})
			if err == nil {
				a.Envelope.MessageId, a.Envelope.RetryCount = w.names.id("r"), 1
				_, _, err = w.RecordIn(ctx, a)
			}
		case 1, 2:
			if _, err = w.BeginStreamIn(seq, 1, false); err == nil {
				_, err = w.FrameIn(ctx, seq, 1, &storagepb.Frame{Body: body("1"), MessageId: "frame"})
			}
			if err == nil && n == 2 {
				_, err = w.FinishIn(ctx, seq, activity.Ending{Outcome: outcome(ack.Fulfilled, 0, ""), NewID: w.names.newID})
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// look reads everything in all ways.
func (w *worker) look(context.Context) error {
	recs, err := w.Recent(100)
	if err != nil {
		return err
	}
	for _, r := range recs {
		var errs []error
		if r.Out != nil {
			_, token := w.OutByToken(r.Out.GetToken())
			_, talk := w.OutByCorrelation(r.Out.GetCorrelationId())
			_, stream := w.OutStream(r.Out.GetSequence())
			_, payload := w.OutBody(r.Out.GetSequence())
			errs = append(errs, token, talk, stream, payload)
		} else {
			_, stream := w.InStream(r.In.GetSequence())
			_, payload := w.InBody(r.In.GetSequence())
			errs = append(errs, stream, payload)
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	w.Stats()
	return w.UnhandledOut("a.S/M", func(rec *storagepb.OutRecord) error { return w.HandledOut(rec.GetSequence()) })
}
