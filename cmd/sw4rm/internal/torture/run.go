package torture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/process"
	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/torture/catalog"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/sw4rm"
)

// run is one torture.
type run struct {
	cfg     Config
	history *recorder
	wire    *wire
	stage   *stage
	faults  *faults
	sender  *sender
	planner *planner
	effects effects

	exchanges []catalog.Exchange
	samples   catalog.Samples
	// leftOut are exchanges that the agent does not answer even without faults, by name.
	leftOut map[string]bool
	// calm is how many operations there were before the first fault, and affecting the exchanges that had effects then.
	calm      int
	affecting map[string]bool

	// stalled is what did not move when it should have.
	stalled []string
	// settled is how long after the last fault everything had ended.
	settled time.Duration
	refused int      // bad messages
	wrong   []string // what was wrong about the others
	notes   []string
}

// Run does what cfg says, and returns what came of it. The report is there whenever the agent was put to the test, also
// when promises were broken; errors are about what kept that from happening: *UsageError, *AgentError, *catalog.Error,
// *server.AddressError, *EffectsError, *VacuousError, and those of files and processes.
func Run(ctx context.Context, cfg Config) (_ *Report, err error) {
	if !process.Signals {
		return nil, errors.New("processes cannot be stopped and continued on this system")
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	known, err := catalog.Load(ctx, cfg.Schema)
	if err != nil {
		return nil, err
	}
	samples, err := catalog.ReadSamples(cfg.Payloads, known)
	if err != nil {
		return nil, err
	}
	r := &run{
		samples: samples, cfg: cfg, history: newRecorder(), leftOut: map[string]bool{}, affecting: map[string]bool{},
		effects: effects{file: cfg.Effects, command: cfg.EffectsCommand},
	}
	id := "torture-" + strings.ReplaceAll(envelope.NewID(), "-", "")[:8] // so that no ledger has tokens of an earlier run
	r.wire = newWire(id, r.history, canonicalOf(known))
	if r.stage, err = newStage(ctx, cfg, r.history, r.wire); err != nil {
		return nil, err
	}
	report, err := r.onStage(ctx, id, known)
	err = errors.Join(err, r.stage.close())
	if report != nil && err == nil {
		err = r.tidy(report)
	}
	if err == nil {
		return report, nil
	}
	if report == nil && cfg.Data == "" && !keeps(err) {
		err = errors.Join(err, os.RemoveAll(r.stage.dir))
	}
	return report, err
}

// keeps tells whether the directory has something to say about an error.
func keeps(err error) bool {
	var agent *AgentError
	var vacuous *VacuousError
	return errors.As(err, &agent) || errors.As(err, &vacuous)
}

func (r *run) onStage(ctx context.Context, id string, known []catalog.Exchange) (_ *Report, err error) {
	if err := r.effects.begin(ctx); err != nil {
		return nil, err
	}
	if err := r.stage.startServices(ctx); err != nil {
		return nil, err
	}
	if err := r.stage.startAgent(); err != nil {
		return nil, err
	}
	if err := r.stage.awaitAgent(ctx); err != nil {
		return nil, err
	}
	if err := r.choose(known); err != nil {
		return nil, err
	}
	a, err := sw4rm.New(agent.Config{
		ID: id, DataDir: filepath.Join(r.stage.dir, senderName), RouterAddr: r.stage.relay.Addr(), RegistryAddr: r.stage.registry, Logger: quiet(),
	})
	if err != nil {
		return nil, err
	}
	following, cancel := context.WithCancel(ctx)
	r.sender = newSender(a, r.history)
	closed := false
	leave := func() error {
		if closed {
			return nil
		}
		closed = true
		cancel()
		r.sender.going.Wait()
		return a.Close()
	}
	defer func() { err = errors.Join(err, leave()) }()
	if err := a.Start(ctx); err != nil {
		return nil, err
	}
	if err := r.calmly(ctx, following); err != nil {
		return nil, err
	}
	if err := r.play(ctx, following); err != nil {
		return nil, err
	}
	if err := r.strange(ctx); err != nil {
		return nil, err
	}
	if err := leave(); err != nil && len(r.stalled) == 0 { // which says that operations are open
		return nil, err
	}
	r.stage.stop(ctx, r.stage.agent)
	r.stage.stop(ctx, r.stage.services)
	if err := r.stage.examine(ctx); err != nil {
		return nil, err
	}
	return r.judge(ctx)
}

// choose keeps the exchanges that the agent handles and the user asks for.
func (r *run) choose(known []catalog.Exchange) error {
	serves := r.wire.capabilities()
	ids := r.wire.ids()
	var names, wanted []string
	for _, x := range known {
		names = append(names, x.Name())
		if x.Capability != "" && !slices.Contains(serves, x.Capability) {
			continue
		}
		wanted = append(wanted, x.Name())
		if selected(x, r.cfg.Only) {
			r.exchanges = append(r.exchanges, x)
		}
	}
	switch {
	case len(wanted) == 0 || len(r.exchanges) == 0 && len(r.cfg.Only) == 0:
		return &UsageError{
			fmt.Sprintf("the schema has no exchange that the agent handles: %s serves %s, and the schema has %s",
				strings.Join(ids, ", "), listed(serves, "nothing"), listed(names, "nothing")),
			"name the schema of the services that the agent handles with --schema",
		}
	case len(r.exchanges) == 0:
		return &UsageError{
			fmt.Sprintf("--only %s leaves nothing of %s", strings.Join(r.cfg.Only, ","), listed(wanted, "nothing")),
			"name services, methods or Service/Method",
		}
	}
	r.planner = newPlanner(r.cfg.Seed, r.exchanges, ids)
	r.planner.samples = r.samples
	var words []string
	for _, x := range r.exchanges {
		words = append(words, x.Name()+" ("+x.Shape()+")")
	}
	r.cfg.say("seed %d; %s is connected and handles %s", r.cfg.Seed, strings.Join(ids, ", "), strings.Join(words, ", "))
	return nil
}

func listed(names []string, otherwise string) string {
	const most = 10
	switch {
	case len(names) == 0:
		return otherwise
	case len(names) > most:
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	default:
		return strings.Join(names, ", ")
	}
}

// selected tells whether only names the exchange: by its name, its method, its service with or without package.
func selected(x catalog.Exchange, only []string) bool {
	if len(only) == 0 {
		return true
	}
	service := x.Descriptor.Service()
	_, short, _ := strings.Cut("."+service, service[:strings.LastIndex(service, ".")+1])
	return slices.ContainsFunc(only, func(name string) bool {
		return name == x.Name() || name == x.Method() || name == service || name == short || name == short+"/"+x.Method()
	})
}

// capabilities returns what the connected agents serve.
func (w *wire) capabilities() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for _, a := range w.agents {
		all = append(all, a.capabilities...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// canonicalOf decodes replies, so that equal ones are known as equal however their maps were written.
func canonicalOf(known []catalog.Exchange) func(contentType string, payload []byte) []byte {
	byName := map[string]catalog.Exchange{}
	for _, x := range known {
		byName[x.Name()] = x
	}
	return func(contentType string, payload []byte) []byte {
		ct, err := envelope.ParseContentType(contentType)
		x, ok := byName[ct.Method]
		if err != nil || !ok || x.NewReply() == nil {
			return payload
		}
		m := x.NewReply()
		if envelope.Decode(ct.Media, payload, m) != nil {
			return payload
		}
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			return payload
		}
		return b
	}
}

// calmly sends a few messages of every exchange without any fault: they tell how the agent answers and how long it takes.
func (r *run) calmly(ctx, following context.Context) error {
	n := min(max(2*len(r.exchanges), 10), max(len(r.exchanges), 40))
	for range n {
		o, err := r.planner.next(false)
		if err != nil {
			return err
		}
		if err := r.sender.send(ctx, following, o); err != nil {
			return err
		}
	}
	waiting, cancel := context.WithTimeout(ctx, r.cfg.AnswerTimeout)
	defer cancel()
	if err := r.awaitEnds(waiting, n); err != nil {
		return err
	}
	all, _ := r.sender.operations()
	r.calm = n
	for _, o := range all { // those without an answer are left out, and count as ended
		if !o.done {
			r.calm--
		}
	}
	r.sender.begin()
	return r.learn(ctx, all)
}

// awaitEnds waits until n operations have ended, or ctx ends, which is no error. The agent's end is.
func (r *run) awaitEnds(ctx context.Context, n int) error {
	for {
		_, ended, progress := r.sender.count()
		if ended >= n {
			return nil
		}
		select {
		case <-progress:
		case <-r.stage.agent.Done():
			return r.stage.gone()
		case <-ctx.Done():
			return nil
		}
	}
}

// learn looks at what came of the calm operations.
func (r *run) learn(ctx context.Context, all []*operation) error {
	r.faults = &faults{stage: r.stage, done: map[string]int{}}
	refusals, missing := map[string]string{}, map[string]string{}
	answered := map[string]int{}
	for _, o := range all {
		name := o.exchange.Name()
		switch {
		case !o.done:
			missing[name] = fmt.Sprintf("the agent has not answered it within %v, without any fault", r.cfg.AnswerTimeout)
			continue
		case o.code() == ack.UnsupportedMessageType:
			missing[name] = "the agent does not handle it"
			continue
		case o.fulfilled():
			answered[name]++
		default:
			refusals[name] = fmt.Sprint(errors.Join(o.refused, o.err))
		}
		r.faults.longest = max(r.faults.longest, o.ended.Sub(o.began))
	}
	for _, name := range sortedNames(missing) {
		r.leftOut[name] = true
		r.note("%s is left out: %s", name, missing[name])
	}
	for _, name := range sortedNames(refusals) {
		if answered[name] == 0 && !r.leftOut[name] {
			r.note("%s never ended well, without any fault: %s", name, refusals[name])
		}
	}
	r.exchanges = slices.DeleteFunc(r.exchanges, func(x catalog.Exchange) bool { return r.leftOut[x.Name()] })
	r.planner.exchanges = r.exchanges
	r.planner.ttl = max(shortLife, 2*r.faults.longest)
	if len(r.exchanges) == 0 {
		return &AgentError{
			Problem: fmt.Sprintf("the agent has answered none of %d messages within %v, without any fault", len(all), r.cfg.AnswerTimeout),
			Fix:     "look for what its handlers wait for, or give them more time with --answer-timeout",
			Log:     r.stage.printed(),
		}
	}
	r.cfg.say("%d operations without faults have ended, the slowest after %v", len(all), r.faults.longest.Round(time.Millisecond))
	return r.learnEffects(ctx, all)
}

func (r *run) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.notes = append(r.notes, text)
	r.cfg.say("%s", text)
}

// learnEffects notes which exchanges have side effects.
func (r *run) learnEffects(ctx context.Context, all []*operation) error {
	if !r.effects.asked() {
		return nil
	}
	seen, err := r.effects.since(ctx)
	if err != nil {
		return err
	}
	had := map[string]bool{}
	for key := range seen {
		had[tokenOf(key)] = true
	}
	without := map[string]bool{}
	for _, o := range all {
		if o.fulfilled() {
			r.affecting[o.exchange.Name()] = true
			without[o.exchange.Name()] = without[o.exchange.Name()] || !had[o.token]
		}
	}
	for name := range without {
		r.affecting[name] = r.affecting[name] && !without[name]
	}
	return nil
}

// strange sends messages that nobody can understand.
func (r *run) strange(ctx context.Context) error {
	if len(r.stalled) > 0 {
		return nil
	}
	if err := r.stage.awaitAgent(ctx); err != nil {
		return err
	}
	var err error
	r.refused, r.wrong, err = badMail(ctx, r.stage.router, r.wire.ids(), r.exchanges[0])
	return err
}
