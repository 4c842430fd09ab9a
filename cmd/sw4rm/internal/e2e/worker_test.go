package e2e

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/history"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// work handles messages until the process is asked to stop.
func work(p *part) error {
	ctx, cancel := until()
	defer cancel()
	a, err := p.agent()
	if err != nil {
		return err
	}
	a.Service(exchange.Service{Name: service})
	do.Handle(a, func(ctx context.Context, req *text) (*text, error) {
		if err := p.handle(ctx, req.GetValue(), nil); err != nil {
			return nil, err
		}
		return wrapperspb.String(answerTo(req.GetValue())), nil
	})
	tell.Handle(a, func(ctx context.Context, req *text) error { return p.handle(ctx, req.GetValue(), nil) })
	for _, s := range []shape{restarting, continuing} {
		s.stream().Handle(a, func(ctx context.Context, req *text, out *exchange.Frames[*text]) error {
			return p.handle(ctx, req.GetValue(), out)
		})
	}
	if err := a.Start(ctx); err != nil {
		return errors.Join(err, a.Close())
	}
	fmt.Println(ready)
	select {
	case <-ctx.Done():
	case <-a.Failed():
	}
	return errors.Join(a.Err(), a.Close(), p.history.Close())
}

// answerTo is the reply to a request.
func answerTo(key string) string { return "did " + key }

// frameOf is the n-th frame of a stream.
func frameOf(key string, n int) string { return fmt.Sprintf("%s frame %d", key, n) }

// send sends the frames of a stream that are not stored yet.
func send(key string, out *exchange.Frames[*text]) error {
	if out == nil {
		return nil
	}
	for n := out.Recorded() + 1; n <= planOf(key).frames; n++ {
		if err := out.Send(wrapperspb.String(frameOf(key, n))); err != nil {
			return err
		}
	}
	return nil
}

// handle is one run of a handler. A stream's sends its frames to out.
func (p *part) handle(ctx context.Context, key string, out *exchange.Frames[*text]) error {
	info, _ := exchange.InfoFrom(ctx)
	event := history.Event{
		Op: history.Handle, Kind: history.Call, Key: key, Token: info.Token, Message: info.MessageID, Attempt: info.Attempt, Run: info.Run,
	}
	if out == nil {
		event.Writes = counterOf(info.Token)
	}
	p.history.Add(event)
	pl := planOf(key)
	select {
	case <-time.After(pl.effort):
	case <-ctx.Done():
	}
	waits := ctx.Err() == nil
	err := send(key, out)
	if ctx.Err() != nil {
		event.Kind, event.Note = history.Return, "interrupted"
		if waits && out != nil && err != nil {
			event.Note = history.ReaderSilent
		}
		p.history.Add(event)
		return ctx.Err()
	}
	if err == nil && pl.trouble != 0 && info.Attempt == 1 {
		err = ack.Failf(pl.trouble, "the first attempt of %s fails", key)
	}
	if err == nil {
		err = writeDone(exchange.TxFrom(ctx), info.Token, out == nil)
	}
	event.Kind = history.Return
	event.Stage, event.Code, event.Note, _ = ending(err)
	p.history.Add(event)
	return err
}
