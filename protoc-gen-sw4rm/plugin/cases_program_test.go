package plugin_test

import (
	"fmt"
	"strings"
)

// programs returns the schema cases that are too long to write, or that an editor would spoil.
func programs() []schemaCase {
	return []schemaCase{
		imported(10, "packages_named_like_those_that_code_imports",
			"context", "fmt", "errors", "proto", "time", "iter", "exchange", "address", "protoreflect"),
		imported(11, "packages_named_like_parameters",
			"ctx", "in", "req", "env", "opts", "err", "node", "out", "fn", "msg", "k", "h", "c", "s", "r", "to", "x", "m"),
		manyImports(),
		longNames(),
		sameMessage(),
		manyFields(),
		windows(),
		misplacedInWindows(),
	}
}

// text returns a schema of the case's Go package, with what follows the imports.
func text(number int, imports []string, body string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "syntax = \"proto3\";\npackage cases.c%03d;\n", number)
	for _, i := range append(imports, "sw4rm/options/v1/options.proto") {
		fmt.Fprintf(&b, "import %q;\n", i)
	}
	fmt.Fprintf(&b, "option go_package = \"%sc%03d\";\n%s", casesPath, number, body)
	return b.String()
}

// imported has a service whose messages are in packages with the given names.
func imported(number int, name string, packages ...string) schemaCase {
	c := schemaCase{numbers: []int{number}, name: name, files: make(map[string]string)}
	var imports []string
	var body strings.Builder
	body.WriteString("service S {\n  option (sw4rm.options.v1.agent) = {defaults: {ttl: {seconds: 1} idempotency: {fields: {path: [\"id\"]}}}};\n")
	for _, p := range packages {
		file := p + "/" + p + ".proto"
		imports = append(imports, file)
		c.files[file] = fmt.Sprintf("syntax = \"proto3\";\npackage cases.c%03d.p%s;\noption go_package = \"%sc%03d/%s\";\nmessage M { string id = 1; }\n",
			number, p, casesPath, number, p)
		fmt.Fprintf(&body, "  rpc Ask%s(cases.c%03d.p%s.M) returns (cases.c%03d.p%s.M);\n", p, number, p, number, p)
		fmt.Fprintf(&body, "  rpc Watch%s(cases.c%03d.p%s.M) returns (stream cases.c%03d.p%s.M);\n", p, number, p, number, p)
	}
	body.WriteString("}\n")
	c.files["a.proto"] = text(number, imports, body.String())
	return c
}

// manyImports generates one file of 600 that it imports.
func manyImports() schemaCase {
	c := schemaCase{numbers: []int{21}, name: "one_file_with_600_imports", files: make(map[string]string), generate: []string{"a.proto"}}
	var imports []string
	for i := range 600 {
		file := fmt.Sprintf("m%d.proto", i)
		imports = append(imports, file)
		c.files[file] = fmt.Sprintf("syntax = \"proto3\";\npackage cases.c021.m%d;\noption go_package = \"%sc021/m\";\nmessage M%d {}\n", i, casesPath, i)
	}
	c.files["a.proto"] = text(21, imports, "service S {\n  option (sw4rm.options.v1.agent) = {};\n  rpc Ask(Req) returns (Req);\n}\nmessage Req {}\n")
	c.output = []string{casesPath + "c021/a_sw4rm.pb.go"}
	return c
}

// longNames has names of 200 characters that differ in the last.
func longNames() schemaCase {
	long := strings.Repeat("A", 199)
	body := "service S {\n  option (sw4rm.options.v1.agent) = {};\n"
	for _, last := range []string{"a", "b"} {
		body += fmt.Sprintf("  rpc %s%s(%sX) returns (%sY);\n", long, last, long, long)
	}
	body += fmt.Sprintf("}\nmessage %sX {}\nmessage %sY {}\n", long, long)
	body += fmt.Sprintf("message %sZ { option (sw4rm.options.v1.payload) = {}; }\n", long)
	return schemaCase{numbers: []int{38}, name: "names_of_200_characters", files: map[string]string{"a.proto": text(38, nil, body)}}
}

// sameMessage has 50 RPCs with one message as request and reply.
func sameMessage() schemaCase {
	var body strings.Builder
	body.WriteString("service S {\n  option (sw4rm.options.v1.agent) = {};\n")
	for i := range 50 {
		fmt.Fprintf(&body, "  rpc R%d(M) returns (M);\n", i)
	}
	body.WriteString("}\nmessage M {}\n")
	return schemaCase{numbers: []int{41}, name: "one_message_for_50_rpcs", files: map[string]string{"a.proto": text(41, nil, body.String())}}
}

// manyFields has a message without fields, one with 2,000, and one with the largest field number.
func manyFields() schemaCase {
	var body strings.Builder
	body.WriteString("service S {\n  option (sw4rm.options.v1.agent) = {defaults: {idempotency: {fields: {path: [\"f1999\", \"last\"]}}}};\n" +
		"  rpc Ask(Many) returns (None);\n}\nmessage None {}\nmessage Many {\n  string last = 536870911;\n")
	for i := range 2000 {
		fmt.Fprintf(&body, "  int32 f%d = %d;\n", i, i+1)
	}
	body.WriteString("}\n")
	return schemaCase{numbers: []int{47}, name: "messages_with_no_and_many_fields", files: map[string]string{"a.proto": text(47, nil, body.String())}}
}

// windows has the line ends, the tabs and the byte order mark of another editor.
func windows() schemaCase {
	source := text(74, nil, "// S works.\n//\twith tabs\nservice S {\n\toption (sw4rm.options.v1.agent) = {};\n\t// Ask asks.\n\trpc Ask(Req) returns (Req);\n}\nmessage Req {}\n")
	return schemaCase{numbers: []int{74}, name: "crlf_tabs_and_a_byte_order_mark", files: map[string]string{
		"a.proto": "\ufeff" + strings.ReplaceAll(source, "\n", "\r\n"),
	}}
}

// misplacedInWindows has findings in such a file. Columns are the compiler's: it counts characters from 1, and a tab leads
// to the next multiple of eight.
func misplacedInWindows() schemaCase {
	source := text(74, nil, "service S {\n\trpc Ask(Req) returns (Req) {\n\t\toption (sw4rm.options.v1.exchange) = {\n\t\t\tttl: {nanos: 1}\n/* ü */ deadline: {}\n\t\t};\n\t}\n}\nmessage Req {}\n")
	return schemaCase{numbers: []int{74}, name: "positions_with_crlf_tabs_and_a_byte_order_mark", want: `a.proto:8:25: ttl of cases.c074.S.Ask is 1ns, less than 1ms. Fix: write at least {nanos: 1000000}, or 0 for no limit
a.proto:9:9: deadline of cases.c074.S.Ask is 0. Fix: write at least {nanos: 1000000}, or leave it out`, files: map[string]string{
		"a.proto": "\ufeff" + strings.ReplaceAll(source, "\n", "\r\n"),
	}}
}
