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
func parameter(e *schema.Exchange) string {
	if e.Kind == schema.OneWay {
		return "msg"
	}
	return "req"
}

// field refers to the exchange's descriptor.
func (g generator) field(e *schema.Exchange) *jen.Statement {
	return jen.Id(g.s.Go.Exchanges).Dot(e.Proto.GoName)
}

// exchanges writes the descriptors.
func (g generator) exchanges() {
	g.declare(fmt.Sprintf("%s describes %s's exchanges, for use without a caller, sender or handler.", g.s.Go.Exchanges, g.s.Proto.GoName), "")
	types := make([]jen.Code, len(g.s.Exchanges))
	values := make([]jen.Code, len(g.s.Exchanges))
	for i, e := range g.s.Exchanges {
		name := jen.Id(e.Proto.GoName)
		if e.Kind == schema.OneWay {
			types[i] = name.Clone().Op("*").Add(runtime("OneWay")).Types(pointer(e.Request))
			values[i] = name.Clone().Op(":").Add(runtime("NewOneWay")).Types(message(e.Request)).Add(arguments(e))
		} else {
			types[i] = name.Clone().Op("*").Add(runtime("Call")).Types(pointer(e.Request), pointer(e.Reply))
			values[i] = name.Clone().Op(":").Add(runtime("NewCall")).Types(message(e.Request), message(e.Reply)).Add(arguments(e))
		}
	}
	g.out.Var().Id(g.s.Go.Exchanges).Op("=").Struct(types...).Add(list("{", "}", values))
}

// arguments returns the name and the options of an exchange, on lines of their own when there are options.
func arguments(e *schema.Exchange) *jen.Statement {
	opts := options(e)
	if len(opts) == 0 {
		return jen.Call(jen.Lit(e.Name))
	}
	return list("(", ")", append([]jen.Code{jen.Lit(e.Name)}, opts...))
}

// list returns items on lines of their own between brackets.
func list(open, end string, items []jen.Code) *jen.Statement {
	return jen.Custom(jen.Options{Open: open, Close: end, Separator: ",", Multi: len(items) > 0}, items...)
}

// clientShape is what differs between callers and senders.
type clientShape struct {
	name, constructor, receiver, method, sentence, comment, noun string
	results                                                      func(*schema.Exchange) *jen.Statement
}

// client writes a caller or a sender.
func (g generator) client(shape clientShape) {
	g.declare(shape.sentence, shape.comment)
	g.out.Type().Id(shape.name).Struct(jen.Id("c").Add(runtime("Client")))

	g.declare(fmt.Sprintf("%s returns a %s that sends through s to the given address.", shape.constructor, shape.noun), "")
	g.out.Func().Id(shape.constructor).
		Params(jen.Id("s").Add(runtime("Sender")), jen.Id("to").Qual(addressPath, "Address")).
		Id(shape.name).
		Block(jen.Return(jen.Id(shape.name).Values(runtime("NewClient").Call(jen.Id("s"), jen.Id("to")))))

	for _, e := range g.s.Exchanges {
		g.out.Line()
		g.out.Add(g.methodDoc(e))
		g.out.Func().Params(jen.Id(shape.receiver).Id(shape.name)).Id(e.Proto.GoName).
			Params(
				jen.Id("ctx").Qual(contextPath, "Context"),
				jen.Id(parameter(e)).Add(pointer(e.Request)),
				jen.Id("opts").Op("...").Add(runtime("SendOption")),
			).
			Add(shape.results(e)).
			Block(jen.Return(g.field(e).Dot(shape.method).Call(
				jen.Id("ctx"), jen.Id(shape.receiver).Dot("c"), jen.Id(parameter(e)), jen.Id("opts").Op("..."))))
	}
}

func (g generator) callerResults(e *schema.Exchange) *jen.Statement {
	if e.Kind == schema.OneWay {
		return jen.Error()
	}
	return jen.Params(pointer(e.Reply), jen.Error())
}

func (g generator) senderResults(e *schema.Exchange) *jen.Statement {
	if e.Kind == schema.OneWay {
		return jen.Params(jen.Op("*").Add(runtime("Delivery")), jen.Error())
	}
	return jen.Params(jen.Op("*").Add(runtime("Pending")).Types(pointer(e.Reply)), jen.Error())
}

// handler writes the handler interface, its registration, and the handler that refuses.
func (g generator) handler() {
	s := g.s
	g.declare(fmt.Sprintf("%s is what an agent that takes part in %s's exchanges implements.", s.Go.Handler, s.Proto.GoName), "")
	methods := make([]jen.Code, 0, 2*len(s.Exchanges))
	for _, e := range s.Exchanges {
		methods = append(methods, g.methodDoc(e), jen.Id(e.Proto.GoName).
			Params(jen.Id("ctx").Qual(contextPath, "Context"), jen.Id(parameter(e)).Add(pointer(e.Request))).
			Add(g.callerResults(e)))
	}
	g.out.Type().Id(s.Go.Handler).Interface(methods...)

	g.declare(fmt.Sprintf("%s registers h for %s's exchanges; mistakes surface when the agent starts.", s.Go.Handle, s.Proto.GoName), "")
	g.out.Func().Id(s.Go.Handle).
		Params(jen.Id("r").Add(runtime("Registrar")), jen.Id("h").Id(s.Go.Handler)).
		BlockFunc(g.registration)

	g.declare(fmt.Sprintf("%s refuses every exchange with UNSUPPORTED_MESSAGE_TYPE. Embed it to stay\n// source-compatible when the schema grows.", s.Go.Unimplemented), "")
	g.out.Type().Id(s.Go.Unimplemented).Struct()
	for _, e := range s.Exchanges {
		refusal := runtime("Unimplemented").Call(g.field(e).Dot("Name").Call())
		results := []jen.Code{refusal}
		if e.Kind != schema.OneWay {
			results = []jen.Code{jen.Nil(), refusal}
		}
		g.out.Line()
		g.out.Func().Params(jen.Id(s.Go.Unimplemented)).Id(e.Proto.GoName).
			Params(jen.Qual(contextPath, "Context"), pointer(e.Request)).
			Add(g.callerResults(e)).
			Block(jen.Return(results...))
	}
}

func (g generator) registration(body *jen.Group) {
	service := []jen.Code{jen.Id("Name").Op(":").Lit(g.s.Name)}
	if g.s.Capability != "" {
		service = append(service, jen.Id("Capability").Op(":").Lit(g.s.Capability))
	}
	service = append(service, jen.Id("File").Op(":").Id(g.file.Proto.GoDescriptorIdent.GoName))
	register := runtime("Register").Call(jen.Id("r"), runtime("Service").Values(service...), jen.Id("h"))
	if len(g.s.Exchanges) == 0 {
		body.Add(register)
		return
	}
	body.If(jen.Op("!").Add(register)).Block(jen.Return())
	for _, e := range g.s.Exchanges {
		body.Add(g.field(e)).Dot("Handle").Call(jen.Id("r"), jen.Id("h").Dot(e.Proto.GoName))
	}
}
