// Package rules has the rules of buf-plugin-sw4rm: what a careful reviewer would say of the options of a SW4RM payload
// schema, and which of its changes break running agents and stored messages.
package rules

import (
	"context"
	"errors"
	"fmt"

	"buf.build/go/bufplugin/check"
	"buf.build/go/bufplugin/descriptor"
	"buf.build/go/bufplugin/info"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/schema"
)

// The categories.
const (
	// All has the rules of both commands but those of Profile.
	All = "SW4RM"
	// Wire has the breaking rules whose violations lose messages or have them refused.
	Wire = "SW4RM_WIRE"
	// Profile has lint rules that hold a schema to the timeouts that the protocol's profiles recommend.
	Profile = "SW4RM_PROFILE"
)

const documentation = `Checks SW4RM payload schemas: options of exchanges that contradict each other or do not do what they seem to
(buf lint), and changes that break running agents or stored messages (buf breaking).`

// Spec returns the plugin. It keeps no state between requests.
func Spec() *check.Spec {
	spec := &check.Spec{
		Rules: schemaRules(),
		Categories: []*check.CategorySpec{
			{ID: All, Purpose: "Checks SW4RM exchanges."},
			{ID: Wire, Purpose: "Checks that agents of both versions understand each other and reach what is stored."},
			{ID: Profile, Purpose: "Checks that timeouts are inside the ranges that the protocol recommends."},
		},
		Info:   &info.Spec{Documentation: documentation},
		Before: before,
	}
	for _, r := range lintRules() {
		spec.Rules = append(spec.Rules, r.spec())
	}
	for _, r := range breakingRules() {
		spec.Rules = append(spec.Rules, r.spec())
	}
	return spec
}

// input is what all rules of a request work on.
type input struct {
	now, before *snapshot
	successors  successors
}

type inputKey struct{}

// before reads the schemas once for all rules.
func before(ctx context.Context, req check.Request) (_ context.Context, _ check.Request, err error) {
	defer recovered(&err)
	opts, err := readOptions(req.Options())
	if err != nil {
		return nil, nil, err
	}
	in := new(input)
	for _, side := range []struct {
		name  string
		files []descriptor.FileDescriptor
		to    **snapshot
	}{{"schema", req.FileDescriptors(), &in.now}, {"schema to compare with", req.AgainstFileDescriptors(), &in.before}} {
		if *side.to, err = load(side.files, opts); err != nil {
			return nil, nil, fmt.Errorf("the %s: %w", side.name, err)
		}
	}
	in.successors = newSuccessors(in.now, in.before)
	return context.WithValue(ctx, inputKey{}, in), req, nil
}

// handler passes what before has read to a rule.
func handler(rule func(in *input, report func(finding))) check.RuleHandler {
	return check.RuleHandlerFunc(func(ctx context.Context, w check.ResponseWriter, _ check.Request) (err error) {
		defer recovered(&err)
		in, ok := ctx.Value(inputKey{}).(*input)
		if !ok {
			return errors.New("the schemas were not read")
		}
		r := newReport()
		rule(in, r.add)
		r.write(w)
		return nil
	})
}

// recovered turns a panic into an error.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("internal error: %v. Fix: report it with the schema", p)
	}
}

// schemaRules are those about schemas that cannot be read.
func schemaRules() []*check.RuleSpec {
	return []*check.RuleSpec{
		{
			ID:          "SW4RM_SCHEMA_VALID",
			CategoryIDs: []string{All},
			Default:     true,
			Purpose:     "Checks that protoc-gen-sw4rm accepts the schema.",
			Type:        check.RuleTypeLint,
			Handler: handler(func(in *input, report func(finding)) {
				for _, f := range in.now.findings {
					report(in.now.finding(f, ""))
				}
			}),
		},
		{
			ID:          "SW4RM_SCHEMA_WARNING",
			CategoryIDs: []string{All},
			Default:     true,
			Purpose:     "Checks that protoc-gen-sw4rm has nothing to warn of.",
			Type:        check.RuleTypeLint,
			Handler: handler(func(in *input, report func(finding)) {
				for _, f := range in.now.warnings {
					report(in.now.finding(f, ""))
				}
			}),
		},
		{
			ID:          "SW4RM_SCHEMA_COMPARABLE",
			CategoryIDs: []string{All, Wire},
			Default:     true,
			Purpose:     "Checks that protoc-gen-sw4rm accepts both schemas, so that the other rules can compare them.",
			Type:        check.RuleTypeBreaking,
			Handler: handler(func(in *input, report func(finding)) {
				if len(in.before.files) == 0 {
					return
				}
				for _, f := range in.now.findings {
					report(in.now.finding(f, "the file's exchanges cannot be compared: "))
				}
				for _, f := range in.before.findings {
					found := in.before.finding(f, fmt.Sprintf("the file's exchanges cannot be compared, because of %v in the schema to compare with: ", f.Position))
					found.before = found.at
					found.at = place{file: in.now.files[f.Position.File]}
					report(found)
				}
			}),
		},
	}
}

// finding turns a finding of package schema into one of ours.
func (s *snapshot) finding(f schema.Finding, prefix string) finding {
	found := finding{text: prefix + f.Message + ". Fix: " + f.Fix}
	if file := s.files[f.Position.File]; file != nil {
		found.at = file.at(f.Position)
	}
	if f.Position.Line == 0 && f.Position.Element != f.Position.File {
		found.subject = f.Position.Element
	}
	return found
}
