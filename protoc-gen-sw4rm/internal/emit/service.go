package emit

import (
	"fmt"

	"github.com/dave/jennifer/jen"
	"google.golang.org/protobuf/compiler/protogen"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/schema"
)

// leading returns the comment of a declaration.
func leading(c protogen.CommentSet) string {
	if c.Leading != "" {
		return string(c.Leading)
	}
	return string(c.Trailing)
}

// message refers to a message's type.
func message(m *protogen.Message) *jen.Statement {
	return jen.Qual(string(m.GoIdent.GoImportPath), m.GoIdent.GoName)
}

func pointer(m *protogen.Message) *jen.Statement { return jen.Op("*").Add(message(m)) }

func runtime(name string) *jen.Statement { return jen.Qual(exchangePath, name) }

// parameter is the name of an exchange's message in signatures.
func parameter(k schema.Kind) string {
	if k == schema.OneWay {
		return "msg"
	}
	return "req"
}

// service writes the exchanges of a service and the sides of them that are asked for.
func (g generator) service(s *schema.Service) {
	g.exchanges(s)
	if s.Go.Caller != "" {
		g.client(s, clientShape{
			name: s.Go.Caller, constructor: s.Go.NewCaller, receiver: "c", method: "Call",
			sentence: fmt.Sprintf("%s sends %s's exchanges to one address and blocks until their outcome.", s.Go.Caller, s.Proto.GoName),
			comment:  leading(s.Proto.Comments),
			noun:     "caller",
			results:  callerResults,
		})
	}
	if s.Go.Sender != "" {
		g.client(s, clientShape{
			name: s.Go.Sender, constructor: s.Go.NewSender, receiver: "s", method: "Send",
			sentence: fmt.Sprintf("%s sends %s's exchanges to one address and returns as soon as they are durable.", s.Go.Sender, s.Proto.GoName),
			noun:     "sender",
			results:  senderResults,
		})
	}
	if s.Go.Handler != "" {
		g.handler(s)
	}
}

// field refers to the exchange's descriptor.
func field(s *schema.Service, e *schema.Exchange) *jen.Statement {
	return jen.Id(s.Go.Exchanges + "." + e.Proto.GoName)
}

// exchanges writes the descriptors.
func (g generator) exchanges(s *schema.Service) {
	g.declare(fmt.Sprintf("%s describes %s's exchanges, for use without a caller, sender or handler.", s.Go.Exchanges, s.Proto.GoName), "")
	types := make([]jen.Code, len(s.Exchanges))
	values := make([]jen.Code, len(s.Exchanges))
	for i, e := range s.Exchanges {
		name := jen.Id(e.Proto.GoName)
		kind := kindName(e.Kind)
		messages, pointers := []jen.Code{message(e.Request)}, []jen.Code{pointer(e.Request)}
		if e.Kind != schema.OneWay {
			messages, pointers = append(messages, message(e.Reply)), append(pointers, pointer(e.Reply))
		}
		types[i] = name.Clone().Op("*").Add(runtime(kind)).Types(pointers...)
		values[i] = name.Clone().Op(":").Add(runtime("New" + kind)).Types(messages...).
			Add(arguments(e.Name, e.Settings, e.Request, e.Kind))
	}
	g.out.Var().Id(s.Go.Exchanges).Op("=").Struct(types...).Add(list("{", "}", values))
}

// kindName returns the name of an exchange's type in the runtime.
func kindName(k schema.Kind) string {
	switch k {
	case schema.Stream:
		return "Stream"
	case schema.Call:
		return "Call"
	default:
		return "OneWay"
	}
}

// arguments returns the name of an exchange and its options, on lines of their own when they are many or long.
func arguments(name string, s schema.Settings, request *protogen.Message, kind schema.Kind) *jen.Statement {
	opts := options(s, request, kind)
	items := append([]jen.Code{jen.Lit(name)}, opts...)
	if len(opts) > 1 || len(s.Keys) > 0 {
		return list("(", ")", items)
	}
	return jen.Call(items...)
}

// list returns items on lines of their own between brackets.
func list(open, end string, items []jen.Code) *jen.Statement {
	return jen.Custom(jen.Options{Open: open, Close: end, Separator: ",", Multi: len(items) > 0}, items...)
}

// clientShape is what differs between callers and senders.
type clientShape struct {
	name, constructor, receiver, method, sentence, comment, noun string
	results                                                      func(schema.Kind, *protogen.Message) *jen.Statement
}

// client writes a caller or a sender.
func (g generator) client(s *schema.Service, shape clientShape) {
	g.declare(shape.sentence, shape.comment)
	g.out.Type().Id(shape.name).Struct(jen.Id("c").Add(runtime("Client")))

	g.declare(fmt.Sprintf("%s returns a %s that sends through s to the given address.", shape.constructor, shape.noun), "")
	g.out.Func().Id(shape.constructor).
		Params(jen.Id("s").Add(runtime("Sender")), jen.Id("to").Qual(addressPath, "Address")).
		Id(shape.name).
		Block(jen.Return(jen.Id(shape.name).Values(runtime("NewClient").Call(jen.Id("s"), jen.Id("to")))))

	// What all methods share is made once: there may be thousands.
	receiver := jen.Params(jen.Id(shape.receiver).Id(shape.name))
	ctx := jen.Id("ctx").Qual(contextPath, "Context")
	opts := jen.Id("opts").Op("...").Add(runtime("SendOption"))
	for _, e := range s.Exchanges {
		g.out.Line()
		g.out.Add(g.methodDoc(e))
		g.out.Func().Add(receiver).Id(e.Proto.GoName).
			Params(ctx, jen.Id(parameter(e.Kind)).Add(pointer(e.Request)), opts).
			Add(shape.results(e.Kind, e.Reply)).
			Block(jen.Return(field(s, e).Dot(shape.method).Call(jen.Id("ctx, " + shape.receiver + ".c, " + parameter(e.Kind) + ", opts..."))))
	}
}

// methodDoc returns the comment of an exchange's method.
func (g generator) methodDoc(e *schema.Exchange) *jen.Statement {
	return doc("", leading(e.Proto.Comments), deprecation(e.Deprecated, g.file))
}

func callerResults(k schema.Kind, reply *protogen.Message) *jen.Statement {
	switch k {
	case schema.Stream:
		return jen.Qual(iterPath, "Seq2").Types(pointer(reply), jen.Error())
	case schema.Call:
		return jen.Params(pointer(reply), jen.Error())
	default:
		return jen.Error()
	}
}

func senderResults(k schema.Kind, reply *protogen.Message) *jen.Statement {
	switch k {
	case schema.Stream:
		return jen.Params(jen.Op("*").Add(runtime("PendingStream")).Types(pointer(reply)), jen.Error())
	case schema.Call:
		return jen.Params(jen.Op("*").Add(runtime("Pending")).Types(pointer(reply)), jen.Error())
	default:
		return jen.Params(jen.Op("*").Add(runtime("Delivery")), jen.Error())
	}
}
