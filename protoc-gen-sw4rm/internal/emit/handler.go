package emit

import (
	"fmt"

	"github.com/dave/jennifer/jen"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/schema"
)

// handler writes the handler interface, its registration, and the handler that refuses.
func (g generator) handler(s *schema.Service) {
	g.declare(fmt.Sprintf("%s is what an agent that takes part in %s's exchanges implements.", s.Go.Handler, s.Proto.GoName), "")
	methods := make([]jen.Code, 0, 2*len(s.Exchanges))
	ctx := jen.Id("ctx").Qual(contextPath, "Context")
	for _, e := range s.Exchanges {
		params := []jen.Code{ctx, jen.Id(parameter(e.Kind)).Add(pointer(e.Request))}
		if e.Kind == schema.Stream {
			params = append(params, jen.Id("out").Add(frames(e)))
		}
		methods = append(methods, g.methodDoc(e), jen.Id(e.Proto.GoName).Params(params...).Add(handlerResults(e)))
	}
	g.out.Type().Id(s.Go.Handler).Interface(methods...)

	g.declare(fmt.Sprintf("%s registers h for %s's exchanges; mistakes surface when the agent starts.", s.Go.Handle, s.Proto.GoName), "")
	g.out.Func().Id(s.Go.Handle).
		Params(jen.Id("r").Add(runtime("Registrar")), jen.Id("h").Id(s.Go.Handler)).
		BlockFunc(func(body *jen.Group) { g.registration(s, body) })

	g.declare(fmt.Sprintf("%s refuses every exchange with UNSUPPORTED_MESSAGE_TYPE. Embed it to stay\n"+
		"// source-compatible when the schema grows.", s.Go.Unimplemented), "")
	g.out.Type().Id(s.Go.Unimplemented).Struct()
	receiver, unnamed := jen.Params(jen.Id(s.Go.Unimplemented)), jen.Qual(contextPath, "Context")
	for _, e := range s.Exchanges {
		params := []jen.Code{unnamed, pointer(e.Request)}
		if e.Kind == schema.Stream {
			params = append(params, frames(e))
		}
		refusal := runtime("Unimplemented").Call(field(s, e).Dot("Name()"))
		results := []jen.Code{refusal}
		if e.Kind == schema.Call {
			results = []jen.Code{jen.Nil(), refusal}
		}
		g.out.Line()
		g.out.Func().Add(receiver).Id(e.Proto.GoName).
			Params(params...).
			Add(handlerResults(e)).
			Block(jen.Return(results...))
	}
}

// frames refers to what a streaming handler sends frames to.
func frames(e *schema.Exchange) *jen.Statement {
	return jen.Op("*").Add(runtime("Frames")).Types(pointer(e.Reply))
}

func handlerResults(e *schema.Exchange) *jen.Statement {
	if e.Kind == schema.Call {
		return jen.Params(pointer(e.Reply), jen.Error())
	}
	return jen.Error()
}

func (g generator) registration(s *schema.Service, body *jen.Group) {
	service := []jen.Code{jen.Id("Name").Op(":").Lit(s.Name)}
	if s.Capability != "" {
		service = append(service, jen.Id("Capability").Op(":").Lit(s.Capability))
	}
	file := g.file.Proto.GoDescriptorIdent
	service = append(service, jen.Id("File").Op(":").Qual(string(file.GoImportPath), file.GoName))
	register := runtime("Register").Call(jen.Id("r"), runtime("Service").Values(service...), jen.Id("h"))
	if len(s.Exchanges) == 0 {
		body.Add(register)
		return
	}
	body.If(jen.Op("!").Add(register)).Block(jen.Return())
	for _, e := range s.Exchanges {
		body.Add(field(s, e)).Dot("Handle").Call(jen.Id("r"), jen.Id("h."+e.Proto.GoName))
	}
}
