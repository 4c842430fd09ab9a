package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sw4rm/sw4rm-go/examples/review/internal/ledger"
	"github.com/sw4rm/sw4rm-go/examples/review/internal/result"
	"github.com/sw4rm/sw4rm-go/examples/review/internal/source"
)

const (
	// handlers is how many files are reviewed at once, inbound how many may wait at the reviewer; the others wait at
	// the router.
	handlers = 4
	inbound  = 24
)

// outcome is what a run has left.
type outcome struct {
	// files is how many files there are, stored how many messages the client has stored.
	files, stored int
	results       []result.Result
	entries       []ledger.Entry
	// reviewer and router are the processes that were killed.
	reviewer, router int
}

// stage is the running system.
type stage struct {
	d *demo
	// addresses has the addresses of the services, the same for every start.
	addresses                map[string]string
	router, reviewer, client *process
	pause                    time.Duration
}

// play runs the scenario: everything is started, the files are sent, the reviewer and the router are killed and started
// again while the reviews come in.
func (d *demo) play(ctx context.Context) (_ *outcome, err error) {
	files, err := source.Files(d.root)
	if err != nil {
		return nil, err
	}
	d.started = time.Now()
	s := &stage{d: d, addresses: map[string]string{}, pause: d.work * handlers / time.Duration(max(len(files), 1))}
	o := &outcome{files: len(files)}
	defer func() {
		if err != nil {
			s.abort()
		}
	}()
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	if err := s.follow(ctx, o); err != nil {
		return nil, err
	}
	if err := s.end(); err != nil {
		return nil, err
	}
	o.entries, err = ledger.Read(s.ledger())
	return o, err
}

func (s *stage) begin(ctx context.Context) error {
	if err := s.startRouter(ctx); err != nil {
		return err
	}
	s.d.say("sw4rm up has started, pid %d: router %s, registry %s", s.router.pid(), s.addresses["router"], s.addresses["registry"])
	if err := s.startReviewer(ctx); err != nil {
		return err
	}
	s.d.say("reviewer has started, pid %d: %d reviews at once, %v each", s.reviewer.pid(), handlers, s.pause.Round(time.Millisecond))
	var err error
	s.client, err = s.d.start(ctx, s.env(), "client", "-json", "-title", "demo", "-timeout", s.d.timeout.String(), ".")
	if err == nil {
		s.d.say("client has started, pid %d", s.client.pid())
	}
	return err
}

// startRouter starts the services and waits until they listen: on free ports the first time, then on the same.
func (s *stage) startRouter(ctx context.Context) error {
	address := func(name string) string {
		if a, ok := s.addresses[name]; ok {
			return a
		}
		return "127.0.0.1:0"
	}
	p, err := s.d.start(ctx, nil, "sw4rm", "up", "--data", filepath.Join(s.d.dir, "services"),
		"--router", address("router"), "--registry", address("registry"))
	if err != nil {
		return err
	}
	s.router = p
	for seen := 0; seen < 2; {
		line, ok := <-p.stdout
		if !ok {
			return s.broken(p)
		}
		if name, at, found := strings.Cut(line, " listening on "); found {
			s.addresses[name] = at
			seen++
		}
	}
	return nil
}

func (s *stage) startReviewer(ctx context.Context) (err error) {
	s.reviewer, err = s.d.start(ctx, s.env(), "reviewer", "-ledger", s.ledger(), "-pause", s.pause.String(),
		"-handlers", fmt.Sprint(handlers), "-inbound", fmt.Sprint(inbound))
	return err
}

func (s *stage) env() []string {
	return []string{"SW4RM_ROUTER_ADDR=" + s.addresses["router"], "SW4RM_REGISTRY_ADDR=" + s.addresses["registry"]}
}

func (s *stage) ledger() string { return filepath.Join(s.d.dir, "ledger") }

// follow reads what the client tells, and kills the reviewer after a third of the reviews, the router after two thirds.
func (s *stage) follow(ctx context.Context, o *outcome) error {
	for {
		select {
		case line, ok := <-s.client.stdout:
			if !ok {
				return s.broken(s.client)
			}
			done, err := s.event(ctx, o, line)
			if done || err != nil {
				return err
			}
		case <-s.reviewer.ended:
			return s.broken(s.reviewer)
		case <-s.router.ended:
			return s.broken(s.router)
		case <-ctx.Done():
			return fmt.Errorf("%d of %d reviews came in time: %w", len(o.results), o.files, ctx.Err())
		}
	}
}

func (s *stage) event(ctx context.Context, o *outcome, line string) (done bool, err error) {
	var e result.Event
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		return false, fmt.Errorf("read the client's output %q: %w", line, err)
	}
	if e.Stored > 0 {
		o.stored = e.Stored
		s.d.say("%d messages are stored, one for each Go file", e.Stored)
	}
	if e.Result != nil {
		o.results = append(o.results, *e.Result)
		if err := s.harm(ctx, o); err != nil {
			return false, err
		}
	}
	return e.Done, nil
}

// harm kills what is to be killed by now.
func (s *stage) harm(ctx context.Context, o *outcome) error {
	n := len(o.results)
	switch {
	case o.reviewer == 0 && n >= o.files/3:
		o.reviewer = s.reviewer.pid()
		s.d.say("%d reviews are back: SIGKILL to the reviewer, pid %d", n, o.reviewer)
		if err := s.reviewer.kill(); err != nil {
			return err
		}
		if err := s.startReviewer(ctx); err != nil {
			return err
		}
		s.d.say("reviewer has started again, pid %d", s.reviewer.pid())
	case o.router == 0 && n >= o.files*2/3:
		o.router = s.router.pid()
		s.d.say("%d reviews are back: SIGKILL to sw4rm up, pid %d", n, o.router)
		if err := s.router.kill(); err != nil {
			return err
		}
		if err := s.startRouter(ctx); err != nil {
			return err
		}
		s.d.say("sw4rm up has started again, pid %d", s.router.pid())
	}
	return nil
}

// end stops what is running, the sender first.
func (s *stage) end() error {
	s.client.drain()
	s.d.say("the client has ended; stopping the others")
	err := s.client.err
	if err != nil {
		err = fmt.Errorf("the client ended with: %w\n%s", err, s.d.tail("client"))
	}
	return errors.Join(err, s.reviewer.stop(), s.router.stop())
}

// abort ends what is still running after a failure.
func (s *stage) abort() {
	for _, p := range []*process{s.client, s.reviewer, s.router} {
		if p != nil {
			_ = p.cmd.Process.Kill() // it may have ended
			p.drain()
		}
	}
}

// broken reports a process that has ended by itself.
func (s *stage) broken(p *process) error {
	p.drain()
	return fmt.Errorf("%s has ended: %v; the end of its log:\n%s", p.name, p.err, s.d.tail(p.name))
}

// sorted returns the results by path.
func (o *outcome) sorted() []result.Result {
	return slices.SortedFunc(slices.Values(o.results), func(a, b result.Result) int { return strings.Compare(a.Path, b.Path) })
}
