package e2e

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/history"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// underWay is how many operations the client has open at once.
const underWay = 32

// driver sends the operations, and sees to it that each has an outcome, over as many processes as it takes. What it knows
// of former processes it reads from their histories.
type driver struct {
	*part
	a     *agent.Agent
	slots chan struct{}
	going sync.WaitGroup

	mu   sync.Mutex
	errs []error
}

// past is what the histories of former processes say of one key.
type past struct {
	begun, unknown, finished bool
	ref                      exchange.Ref
}

// drive runs the client to the end of all operations.
func drive(p *part) error {
	ctx, cancel := until()
	defer cancel()
	known, err := recall(p)
	if err != nil {
		return err
	}
	d := &driver{part: p, slots: make(chan struct{}, underWay)}
	if d.a, err = p.agent(); err != nil {
		return err
	}
	do.HandleReply(d.a, func(ctx context.Context, req, res *text, err error) error {
		return d.told(ctx, req.GetValue(), res, err)
	})
	tell.HandleReply(d.a, func(ctx context.Context, req *text, err error) error { return d.told(ctx, req.GetValue(), nil, err) })
	for _, s := range []shape{restarting, continuing} {
		s.stream().HandleReply(d.a, func(ctx context.Context, req *text, frames iter.Seq2[*text, error]) error {
			return d.told(ctx, req.GetValue(), nil, watched(req.GetValue(), frames))
		})
	}
	if err := d.a.Start(ctx); err != nil {
		return errors.Join(err, d.a.Close())
	}
	fmt.Println(ready)
	for key, k := range known {
		if k.finished {
			fmt.Println("finished", key)
		}
	}
	for n := range p.operations {
		if ctx.Err() == nil {
			d.pursue(ctx, n, known)
		}
	}
	d.going.Wait()
	err = d.settle(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	return errors.Join(append(d.errs, err, d.a.Close(), p.history.Close())...)
}

// recall reads what former processes did.
func recall(p *part) (map[string]past, error) {
	events, err := history.Read(historyDir(p.dir), p.id+".")
	if err != nil {
		return nil, err
	}
	known := map[string]past{}
	for _, e := range events {
		k := known[e.Key]
		switch {
		case e.Op == history.Send && e.Kind == history.Call:
			k.begun = true
		case e.Op == history.Send && e.Kind == history.Return:
			k.ref = exchange.Ref(e.Ref)
		case e.Op == history.Send && e.Kind == history.Unknown:
			k.unknown = true
		case e.Op == history.Finish:
			k.finished = true
		}
		known[e.Key] = k
	}
	return known, nil
}

// pursue takes up an operation where former processes left it.
func (d *driver) pursue(ctx context.Context, n int, known map[string]past) {
	for sending := 0; ; sending++ {
		key := keyOf(n, sending)
		k := known[key]
		switch {
		case k.finished:
			return
		case k.ref != "":
			d.follow(ctx, key, func() (handle, error) { return d.resume(ctx, key, k.ref) })
			return
		case !k.begun, planOf(key).keyed:
			d.follow(ctx, key, func() (handle, error) { return d.send(ctx, key) })
			return
		case !k.unknown:
			// Without a key of its own, nobody can tell whether it was stored. It may still be, and end.
			d.history.Add(history.Event{Op: history.Send, Kind: history.Unknown, Key: key})
		}
	}
}

// handle is a sent operation.
type handle struct {
	*exchange.Delivery
	// result waits for the end.
	result func(ctx context.Context) error
}

func called(key string, p *exchange.Pending[*text], err error) (handle, error) {
	if err != nil {
		return handle{}, err
	}
	return handle{&p.Delivery, func(ctx context.Context) error {
		res, err := p.Response(ctx)
		return verify(key, res, err)
	}}, nil
}

func told(d *exchange.Delivery, err error) (handle, error) {
	if err != nil {
		return handle{}, err
	}
	return handle{d, d.Outcome}, nil
}

func streamed(key string, p *exchange.PendingStream[*text], err error) (handle, error) {
	if err != nil {
		return handle{}, err
	}
	return handle{&p.Delivery, func(ctx context.Context) error { return watched(key, p.Frames(ctx)) }}, nil
}

// errFrames says that a reader did not get the frames of its stream in their order, each once.
var errFrames = errors.New("the frames are not those that were sent")

// watched reads a stream to its end and returns what it ended with. A stream that goes on begins again only where another
// agent may have taken it over.
func watched(key string, frames iter.Seq2[*text, error]) error {
	n, pl := 0, planOf(key)
	for m, err := range frames {
		switch {
		case errors.Is(err, exchange.ErrRestarted) && pl.shape == continuing && pl.to != address.Capability(service):
			return fmt.Errorf("%s began again after frame %d: %w", key, n, errFrames)
		case errors.Is(err, exchange.ErrRestarted):
			n = 0
		case err != nil:
			return err
		default:
			if n++; m.GetValue() != frameOf(key, n) {
				return fmt.Errorf("%s got %q as frame %d: %w", key, m.GetValue(), n, errFrames)
			}
		}
	}
	if n != pl.frames {
		return fmt.Errorf("%s ended after %d frames of %d: %w", key, n, pl.frames, errFrames)
	}
	return nil
}

// errMixedUp says that an operation got another one's reply.
var errMixedUp = errors.New("the reply belongs to another operation")

func verify(key string, res *text, err error) error {
	if err == nil && res.GetValue() != answerTo(key) {
		return fmt.Errorf("%s got %q: %w", key, res.GetValue(), errMixedUp)
	}
	return err
}

func (d *driver) send(ctx context.Context, key string) (handle, error) {
	pl := planOf(key)
	d.history.Add(history.Event{
		Op: history.Send, Kind: history.Call, Key: key, To: pl.to.String(), TTL: int64(pl.ttl), Lane: pl.lane, N: numberOf(key),
	})
	c := exchange.NewClient(d.a, pl.to)
	var opts []exchange.SendOption
	if pl.keyed {
		opts = append(opts, exchange.WithKey(key))
	}
	if pl.ttl > 0 {
		opts = append(opts, exchange.TTL(pl.ttl))
	}
	if pl.lane != "" {
		opts = append(opts, exchange.WithCorrelation(correlation(pl.lane)))
	}
	var h handle
	var err error
	switch pl.shape {
	case oneWay:
		h, err = told(tell.Send(ctx, c, wrapperspb.String(key), opts...))
	case call:
		p, sendErr := do.Send(ctx, c, wrapperspb.String(key), opts...)
		h, err = called(key, p, sendErr)
	default:
		p, sendErr := pl.shape.stream().Send(ctx, c, wrapperspb.String(key), opts...)
		h, err = streamed(key, p, sendErr)
	}
	if err != nil {
		return h, fmt.Errorf("send %s: %w", key, err)
	}
	d.history.Add(history.Event{Op: history.Send, Kind: history.Return, Key: key, Ref: string(h.Ref())})
	d.note(key, h) // by what names the system knows it
	return h, nil
}

func (d *driver) resume(ctx context.Context, key string, ref exchange.Ref) (handle, error) {
	var h handle
	var err error
	switch s := planOf(key).shape; s {
	case oneWay:
		h, err = told(tell.Resume(ctx, d.a, ref))
	case call:
		p, resumeErr := do.Resume(ctx, d.a, ref)
		h, err = called(key, p, resumeErr)
	default:
		p, resumeErr := s.stream().Resume(ctx, d.a, ref)
		h, err = streamed(key, p, resumeErr)
	}
	if err != nil {
		return h, fmt.Errorf("resume %s: %w", key, err)
	}
	return h, nil
}

// follow begins an operation and notes its progress in a goroutine, when fewer than underWay are open. Those of a lane
// are begun one after another.
func (d *driver) follow(ctx context.Context, key string, begin func() (handle, error)) {
	select {
	case d.slots <- struct{}{}:
	case <-ctx.Done():
		return
	}
	if planOf(key).lane != "" {
		h, err := begin()
		begin = func() (handle, error) { return h, err }
	}
	d.going.Go(func() {
		defer func() { <-d.slots }()
		h, err := begin()
		if err != nil {
			d.fail(err)
			return
		}
		for _, stage := range []ack.Stage{ack.Received, ack.Read} {
			_ = h.Wait(ctx, stage) // its end is looked at below
			d.note(key, h)
		}
		if planOf(key).waited {
			err = h.result(ctx)
			d.note(key, h)
			d.finished(key, "", err)
			return
		}
		_ = h.Wait(ctx, ack.Fulfilled) // the reply handler gets the result
		d.note(key, h)
	})
}

// note records the stages of an operation's attempts.
func (d *driver) note(key string, h handle) {
	for _, at := range h.Status().Attempts {
		event := history.Event{Op: history.Stage, Kind: history.Info, Key: key, Message: at.MessageID, Attempt: at.RetryCount + 1, Stage: at.Stage.String()}
		if at.Code != ack.NoCode {
			event.Code = at.Code.String()
		}
		d.history.Add(event)
	}
}

// told is the reply handler.
func (d *driver) told(ctx context.Context, key string, res *text, err error) error {
	if planOf(key).shape == call {
		err = verify(key, res, err)
	}
	info, _ := exchange.InfoFrom(ctx)
	d.finished(key, info.Token, err)
	return nil
}

// finished records an outcome, and tells the test of it.
func (d *driver) finished(key, token string, err error) {
	stage, code, note, ok := ending(err)
	if !ok {
		d.fail(fmt.Errorf("%s: %w", key, err))
		return
	}
	d.history.Add(history.Event{Op: history.Finish, Kind: history.Return, Key: key, Token: token, Stage: stage, Code: code, Note: note})
	fmt.Println("finished", key)
}

func (d *driver) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.errs = append(d.errs, err)
}

// settle waits until no operation is open and every result was taken, those of unknown sendings too.
func (d *driver) settle(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if s := d.a.Buffer().Stats(); s.OutActive == 0 && s.OutUnhandled == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("operations are still open: %+v", d.a.Buffer().Stats())
		}
	}
}
