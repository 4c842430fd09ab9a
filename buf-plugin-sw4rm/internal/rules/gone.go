package rules

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	optionspb "github.com/sw4rm/sw4rm-go/proto/sw4rm/options/v1"
)

// exchangeGone says why an exchange is no longer there, at the nearest place that is.
func exchangeGone(in *input, before *exchange) finding {
	at, why := in.now.trace(before)
	fix := "keep it until no message of it is stored or sent any more"
	if to := in.successor(before); to != nil {
		fix = fmt.Sprintf("if it is %s now, keep both until no message under the old name is stored or sent any more", to.name)
	}
	return finding{
		subject: before.element,
		text: fmt.Sprintf("the exchange %q %s: messages under that name, stored or sent by agents of the other version, are refused. Fix: %s",
			before.name, why, fix),
		at:     at,
		before: before.declared(),
	}
}

// successor returns the one new exchange that looks like another one under a new name: with the same last part of the
// name, else with the same messages; nil when there is none or several.
func (in *input) successor(before *exchange) *exchange {
	var sameName, sameMessages []*exchange
	for _, e := range in.now.exchanges {
		switch _, old := in.before.byName[e.name]; {
		case old || e.kind != before.kind || (e.service == nil) != (before.service == nil):
		case last(e.element) == last(before.element):
			sameName = append(sameName, e)
		case e.service != nil && e.request.Desc.FullName() == before.request.Desc.FullName() && e.replyName() == before.replyName():
			sameMessages = append(sameMessages, e)
		}
	}
	for _, found := range [][]*exchange{sameName, sameMessages} {
		if len(found) == 1 {
			return found[0]
		}
	}
	return nil
}

func last(name string) string { return name[strings.LastIndexByte(name, '.')+1:] }

// trace looks for what is left of an exchange.
func (s *snapshot) trace(before *exchange) (at place, why string) {
	if before.service == nil {
		return s.traceMessage(before)
	}
	for _, f := range s.ordered() {
		i := slices.IndexFunc(f.desc.GetService(), func(svc *descriptorpb.ServiceDescriptorProto) bool {
			return fullName(f.desc.GetPackage(), svc.GetName()) == before.service.Name
		})
		if i < 0 {
			continue
		}
		svc := f.desc.GetService()[i]
		path := protoreflect.SourcePath{6, int32(i)}
		j := slices.IndexFunc(svc.GetMethod(), func(m *descriptorpb.MethodDescriptorProto) bool {
			return fullName(before.service.Name, m.GetName()) == before.element
		})
		if j < 0 {
			return f.nearest(append(path, 1), len(path)), "is deleted"
		}
		path = append(path, 2, int32(j))
		if skips(svc.GetMethod()[j].GetOptions()) {
			return f.nearest(append(path, 4, optionNumber, 10), len(path)), "is skipped"
		}
		return f.nearest(append(path, 1), len(path)), "is no longer annotated"
	}
	return s.tomb(before)
}

func (s *snapshot) traceMessage(before *exchange) (at place, why string) {
	for _, f := range s.ordered() {
		path, m := f.message(before.element)
		if m == nil {
			continue
		}
		if skipsPayload(m.GetOptions()) {
			return f.nearest(append(path, 7, optionNumber, 1, 10), len(path)), "is skipped"
		}
		return f.nearest(append(path, 1), len(path)), "is no longer annotated"
	}
	return s.tomb(before)
}

// tomb is the file that an exchange was in, nowhere when the file is gone too.
func (s *snapshot) tomb(before *exchange) (at place, why string) {
	if f := s.files[before.file.path()]; f != nil {
		return place{file: f}, "is deleted"
	}
	return place{}, "is deleted with its file " + before.file.path()
}

// skips and skipsPayload tell whether an option says skip. The options are decoded anew, since the number may be somebody
// else's.
func skips(o *descriptorpb.MethodOptions) bool {
	own, ok := reread(o)
	if !ok {
		return false
	}
	e, _ := proto.GetExtension(own, optionspb.E_Exchange).(*optionspb.ExchangeOptions)
	return e.GetSkip()
}

func skipsPayload(o *descriptorpb.MessageOptions) bool {
	own, ok := reread(o)
	if !ok {
		return false
	}
	p, _ := proto.GetExtension(own, optionspb.E_Payload).(*optionspb.PayloadOptions)
	return p.GetExchange().GetSkip()
}

func reread[T proto.Message](options T) (T, bool) {
	own, _ := options.ProtoReflect().New().Interface().(T)
	b, err := proto.Marshal(options)
	return own, err == nil && proto.Unmarshal(b, own) == nil
}

// message returns the path and descriptor of the named message, nil when there is none.
func (f *file) message(name string) (protoreflect.SourcePath, *descriptorpb.DescriptorProto) {
	return messageIn(f.desc.GetMessageType(), f.desc.GetPackage(), name, protoreflect.SourcePath{4})
}

// messageIn looks among the messages of a scope; list is the path of their list.
func messageIn(messages []*descriptorpb.DescriptorProto, scope, name string, list protoreflect.SourcePath) (protoreflect.SourcePath, *descriptorpb.DescriptorProto) {
	for i, m := range messages {
		path := append(list[:len(list):len(list)], int32(i))
		switch full := fullName(scope, m.GetName()); {
		case full == name:
			return path, m
		case strings.HasPrefix(name, full+"."):
			if p, inner := messageIn(m.GetNestedType(), full, name, append(path, 3)); inner != nil {
				return p, inner
			}
		}
	}
	return nil, nil
}

func fullName(scope, name string) string {
	if scope == "" {
		return name
	}
	return scope + "." + name
}
