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
	if to := in.successors.of(before); to != nil {
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

// successors are new exchanges by what they may share with one that is gone.
type successors struct{ byName, byMessages map[string][]*exchange }

func newSuccessors(now, before *snapshot) successors {
	s := successors{byName: make(map[string][]*exchange), byMessages: make(map[string][]*exchange)}
	for _, e := range now.exchanges {
		if _, old := before.byName[e.name]; !old {
			s.byName[e.nameTraits()] = append(s.byName[e.nameTraits()], e)
			s.byMessages[e.messageTraits()] = append(s.byMessages[e.messageTraits()], e)
		}
	}
	return s
}

// of returns the one new exchange that looks like another one under a new name: with the same last part of the name,
// else with the same messages; nil when there is none or several.
func (s successors) of(before *exchange) *exchange {
	if found := s.byName[before.nameTraits()]; len(found) == 1 {
		return found[0]
	}
	if found := s.byMessages[before.messageTraits()]; len(found) == 1 && before.service != nil {
		return found[0]
	}
	return nil
}

func (e *exchange) nameTraits() string {
	return fmt.Sprintf("%v %t %s", e.kind, e.service == nil, last(e.element))
}

func (e *exchange) messageTraits() string {
	return fmt.Sprintf("%v %t %s %s", e.kind, e.service == nil, e.request.Desc.FullName(), e.replyName())
}

func last(name string) string { return name[strings.LastIndexByte(name, '.')+1:] }

// trace looks for what is left of an exchange.
func (s *snapshot) trace(before *exchange) (at place, why string) {
	if before.service == nil {
		return s.traceMessage(before)
	}
	if svc, ok := s.declared[before.service.Name]; ok {
		f, path := svc.file, protoreflect.SourcePath{6, int32(svc.index)}
		methods := f.desc.GetService()[svc.index].GetMethod()
		i := slices.IndexFunc(methods, func(m *descriptorpb.MethodDescriptorProto) bool {
			return fullName(before.service.Name, m.GetName()) == before.element
		})
		if i < 0 {
			return f.nearest(append(path, 1), len(path)), "is deleted"
		}
		path = append(path, 2, int32(i))
		if skips(methods[i].GetOptions()) {
			return f.nearest(append(path, 4, optionNumber, 10), len(path)), "is skipped"
		}
		return f.nearest(append(path, 1), len(path)), "is no longer annotated"
	}
	return s.tomb(before)
}

func (s *snapshot) traceMessage(before *exchange) (at place, why string) {
	for _, f := range s.ordered {
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
