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
		if err := p.handle(ctx, req.GetValue()); err != nil {
			return nil, err
		}
		return wrapperspb.String(answerTo(req.GetValue())), nil
	})
	tell.Handle(a, func(ctx context.Context, req *text) error { return p.handle(ctx, req.GetValue()) })
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

// handle is one run of a handler.
func (p *part) handle(ctx context.Context, key string) error {
	info, _ := exchange.InfoFrom(ctx)
	event := history.Event{
		Op: history.Handle, Kind: history.Call, Key: key, Token: info.Token, Message: info.MessageID, Attempt: info.Attempt, Run: info.Run,
	}
	p.history.Add(event)
	pl := planOf(key)
	select {
	case <-time.After(pl.effort):
	case <-ctx.Done():
		event.Kind, event.Note = history.Return, "interrupted"
		p.history.Add(event)
		return ctx.Err()
	}
	var err error
	if pl.trouble != 0 && info.Attempt == 1 {
		err = ack.Failf(pl.trouble, "the first attempt of %s fails", key)
	}
	event.Kind = history.Return
	event.Stage, event.Code, _ = ending(err)
	p.history.Add(event)
	return err
}
