package emit

import (
	"fmt"

	"github.com/dave/jennifer/jen"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/schema"
)

// payload writes what sends and handles a message without a service.
func (g generator) payload(p *schema.Payload) {
	name := p.Proto.GoIdent.GoName
	g.declare(fmt.Sprintf("%s describes %s, a message that is sent by itself.", p.Go.Exchange, name), leading(p.Proto.Comments))
	g.out.Var().Id(p.Go.Exchange).Op("=").Add(runtime("NewPayload")).Types(message(p.Proto)).
		Add(arguments(p.Name, p.Settings, p.Proto, schema.OneWay))

	if p.Go.Send != "" {
		g.declare(fmt.Sprintf("%s sends msg through s to one address and returns as soon as it is durable.", p.Go.Send), "")
		g.out.Func().Id(p.Go.Send).
			Params(
				jen.Id("ctx").Qual(contextPath, "Context"),
				jen.Id("s").Add(runtime("Sender")),
				jen.Id("to").Qual(addressPath, "Address"),
				jen.Id("msg").Add(pointer(p.Proto)),
				jen.Id("opts").Op("...").Add(runtime("SendOption")),
			).
			Add(senderResults(schema.OneWay, nil)).
			Block(jen.Return(jen.Id(p.Go.Exchange).Dot("Send").Call(
				jen.Id("ctx"), runtime("NewClient").Call(jen.Id("s"), jen.Id("to")), jen.Id("msg"), jen.Id("opts").Op("..."))))
	}
	if p.Go.Handle != "" {
		g.declare(fmt.Sprintf("%s registers fn for %s; mistakes surface when the agent starts.", p.Go.Handle, name), "")
		g.out.Func().Id(p.Go.Handle).
			Params(
				jen.Id("r").Add(runtime("Registrar")),
				jen.Id("fn").Func().Params(jen.Id("ctx").Qual(contextPath, "Context"), jen.Id("msg").Add(pointer(p.Proto))).Error(),
			).
			Block(jen.Id(p.Go.Exchange).Dot("Handle").Call(jen.Id("r"), jen.Id("fn")))
	}
}
