package torture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/history"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
)

// promiseOf says which promise each check is about.
var promiseOf = map[string]string{
	history.Lost: "P2", history.Handed: "P2", history.OneOutcome: "P3", history.Once: "P3", history.NoOverlap: "P3", history.OneHolder: "P3", history.Poisoned: "P3",
	history.Forward: "P4", history.InOrder: "P5", history.InTime: "P6", history.TrueCause: "P8",
}

// judge says of every promise what came of it.
func (r *run) judge(ctx context.Context) (*Report, error) {
	all, _ := r.sender.operations()
	all = slices.DeleteFunc(all, func(o *operation) bool { return r.leftOut[o.exchange.Name()] })
	events := r.events(all)
	sum := history.Summarize(events)
	report := &Report{Seed: r.cfg.Seed, Ended: map[string]int{}, Faults: r.faults.done, Notes: r.notes}
	for _, o := range all {
		report.count(o)
	}
	report.Operations, report.Calm = len(all), min(r.calm, len(all))
	if err := r.vacuous(report, sum); err != nil {
		return nil, errors.Join(err, r.keep(events))
	}
	broken := violations(events, int64(2*r.cfg.Lease+time.Second))
	disorder, compared := r.wire.disorder()
	for _, v := range disorder {
		broken["P5"] = append(broken["P5"], v.Error())
	}
	refusals, untyped := typed(all)
	broken["P7"] = append(untyped, r.wrong...)
	broken["P8"] = append(broken["P8"], r.stalled...)
	for _, id := range r.faults.admitted {
		broken["P11"] = append(broken["P11"], fmt.Sprintf("the router has admitted agent %s on an old copy of its data", id))
	}
	again, contrary := r.wire.repeated()
	effected, twice, err := r.judgeEffects(ctx, all)
	if err != nil {
		return nil, err
	}
	broken["H1"] = twice
	if !r.cfg.AnyReply {
		broken["H2"] = contrary
	}
	limited, expired := 0, 0
	for _, o := range all {
		if o.ttl > 0 || o.exchange.Policy().TTL > 0 {
			limited++
		}
		if o.code() == ack.TTLExpired {
			expired++
		}
	}
	upset := sum.Kills + sum.Faults
	for _, p := range []struct {
		id, name  string
		exercised bool
		seen      string
		otherwise string
	}{
		{"P1", "durable accept", false, "", "no disk loses its power here; what is synced before what is tested in the runtime itself"},
		{"P2", "no loss", upset > 0, fmt.Sprintf("%d messages accepted, %d operations ended, under %d faults", sum.Accepted, sum.Finished, upset), "there was no fault"},
		{"P3", "one outcome", upset > 0, fmt.Sprintf("%d outcomes, %d custodies", sum.Finished, sum.Custodies), "there was no fault"},
		{"P4", "forward only", sum.Finished > 0, fmt.Sprintf("the stages of %d operations", sum.Finished), ""},
		{"P5", "order", compared > 0, fmt.Sprintf("%d pairs of messages of one conversation", compared), "no two messages of one conversation could be compared"},
		{"P6", "TTL", limited > 0, fmt.Sprintf("%d operations with a time to live, %d expired", limited, expired), "no operation had a time to live"},
		{"P7", "nothing silent", refusals+r.refused > 0, fmt.Sprintf("%d operations without success and %d bad messages, each with its code", refusals, r.refused), "nothing was refused"},
		{"P8", "progress", upset > 0, fmt.Sprintf("all had ended %v after the last fault", r.settled.Round(time.Millisecond)), "there was no fault"},
		{"P9", "damage shows", false, "", "no file is damaged here"},
		{"P10", "fail-stop", false, "", "no disk fails here"},
		{"P11", "fencing", r.faults.refused > 0, fmt.Sprintf("%d old copies of the agent's data refused", r.faults.refused), "no old copy of the agent's data was used"},
		{"P12", "bounded", false, "", "memory and disk are not filled here"},
		{"P13", "upgrade", false, "", "no data of another version are used here"},
		{"H1", "effects once", r.effects.asked() && again+r.faults.forgotten > 0, effected, r.whyNoEffects()},
		{"H2", "same answer again", again > 0 && !r.cfg.AnyReply, fmt.Sprintf("%d answers given again by handlers that ran again", again), r.why(again)},
	} {
		report.add(p.id, p.name, p.exercised, p.seen, p.otherwise, broken[p.id])
	}
	if !report.Held() || r.cfg.Data != "" {
		if err := r.keep(events); err != nil {
			return nil, err
		}
		report.Directory = r.stage.dir
	}
	return report, nil
}

// whyNoEffects says why nothing is said of effects.
func (r *run) whyNoEffects() string {
	if !r.effects.asked() {
		return "give --effects or --effects-command to let side effects be seen"
	}
	return "no handler is known to have run twice for the same operation"
}

func (r *run) why(again int) string {
	if r.cfg.AnyReply && again > 0 {
		return "--any-reply allows other answers"
	}
	return "no handler has answered the same operation twice"
}

func (r *Report) add(id, name string, exercised bool, seen, otherwise string, violations []string) {
	p := Promise{ID: id, Name: name, Result: NotExercised, Seen: otherwise, Violations: violations}
	switch {
	case len(violations) > 0:
		p.Result, p.Seen = Broken, fmt.Sprintf("%d times; see below", len(violations))
		if len(violations) == 1 {
			p.Seen = "once; see below"
		}
	case exercised:
		p.Result, p.Seen = Held, seen
	}
	r.Promises = append(r.Promises, p)
}

func (r *Report) count(o *operation) {
	name := "open"
	var e *ack.Error
	switch {
	case o.fulfilled():
		name = ack.Fulfilled.String()
		r.Fulfilled++
	case errors.As(errors.Join(o.refused, o.err), &e) && e.Code != ack.NoCode:
		name = e.Stage.String() + " " + e.Code.String()
	case e != nil:
		name = e.Stage.String()
	}
	r.Ended[name]++
}

// vacuous is an error when the run says nothing.
func (r *run) vacuous(report *Report, sum history.Summary) error {
	switch {
	case report.Fulfilled == 0 && len(r.stalled) == 0:
		return &VacuousError{
			fmt.Sprintf("none of %d operations has ended well (%s), so that little can be said of promises", report.Operations, counted(report.Ended)),
			"choose exchanges with --only whose generated payloads the agent accepts; the notes above say what it answered",
		}
	case r.cfg.Faults > 0 && sum.Overlapping+sum.OverlappingFaults == 0:
		return &VacuousError{"no fault came while an operation was open, so that nothing can be said of promises", "use more --ops, or fewer --faults"}
	}
	return nil
}

// events are those of the operations that count, with the processes' and the faults'.
func (r *run) events(all []*operation) []history.Event {
	counts := map[string]bool{}
	for _, o := range all {
		counts[o.key] = true
	}
	return slices.DeleteFunc(r.history.all(), func(e history.Event) bool { return e.Key != "" && !counts[e.Key] })
}

// keep writes the history beside the logs.
func (r *run) keep(events []history.Event) error {
	if err := write(filepath.Join(r.stage.dir, "history.jsonl"), events); err != nil {
		return fmt.Errorf("keep the history: %w", err)
	}
	return nil
}

// tidy removes the directory that nobody needs.
func (r *run) tidy(report *Report) error {
	if report.Directory != "" {
		return nil
	}
	return os.RemoveAll(r.stage.dir)
}

// violations returns what the checks of histories find, by promise.
func violations(events []history.Event, slack int64) map[string][]string {
	found := map[string][]string{}
	err := history.Check(events, history.Floor{Slack: slack})
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return found
	}
	for _, err := range joined.Unwrap() {
		var v *history.Violation
		if errors.As(err, &v) {
			found[promiseOf[v.Check]] = append(found[promiseOf[v.Check]], v.Error())
		}
	}
	return found
}

// typed counts the operations that were refused or failed, and returns those for which nothing says why.
func typed(all []*operation) (n int, untyped []string) {
	for _, o := range all {
		if !o.done || o.fulfilled() {
			continue
		}
		n++
		err := errors.Join(o.refused, o.err)
		var e *ack.Error
		if !errors.As(err, &e) || e.Code == ack.NoCode && e.Stage != ack.TimedOut {
			untyped = append(untyped, fmt.Sprintf("%s %s ended without a code: %v", o.key, o.exchange.Name(), err))
		}
	}
	return n, untyped
}

// repeated counts what handlers have answered twice, and returns where the second answer was another one.
func (w *wire) repeated() (again int, contrary []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range sortedNames(w.results) {
		a := w.results[name]
		if a.again {
			again++
		}
		if a.contrary != "" {
			contrary = append(contrary, fmt.Sprintf("%s is another one when the handler runs again for the same token. "+
				"Fix: let the handler remember by its token what it has done, and answer the same; --any-reply allows other answers", name))
		}
	}
	return again, contrary
}

// judgeEffects tells what came of side effects: how many there were, and which operations had theirs twice or not at all.
func (r *run) judgeEffects(ctx context.Context, all []*operation) (seen string, wrong []string, err error) {
	if !r.effects.asked() {
		return "", nil, nil
	}
	keys, err := r.effects.since(ctx)
	if err != nil {
		return "", nil, err
	}
	had := map[string]bool{}
	for _, key := range sortedNames(keys) {
		token, n := tokenOf(key), keys[key]
		name, ours := r.history.keyOf(token)
		if !ours {
			return "", nil, &EffectsError{
				fmt.Sprintf("the effect %q belongs to no operation of this run", key),
				"begin each line with the operation's token (exchange.InfoFrom(ctx).Token), with # and a name of its own where an operation has several effects",
			}
		}
		had[token] = true
		if n > 1 {
			wrong = append(wrong, fmt.Sprintf("%s (%s) has had its effect %d times. Fix: let the handler look whether the token's effect is there "+
				"before it makes it, or make both one write", key, name, n))
		}
	}
	for _, o := range all {
		if o.fulfilled() && r.affecting[o.exchange.Name()] && !had[o.token] {
			wrong = append(wrong, fmt.Sprintf("%s (%s) was fulfilled and has had no effect", o.token, o.key))
		}
	}
	return fmt.Sprintf("%d effects, each once; %d handled operations were forgotten and handled again", len(keys), r.faults.forgotten), wrong, nil
}
