package emit

import (
	"bytes"
	"fmt"
	"go/token"
	"go/types"
	"path"
	"slices"
	"strings"

	"github.com/dave/jennifer/jen"
	"google.golang.org/protobuf/compiler/protogen"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/schema"
)

// The packages that generated code imports besides those of its messages.
const (
	contextPath  = "context"
	iterPath     = "iter"
	timePath     = "time"
	exchangePath = "github.com/sw4rm/sw4rm-go/runtime/exchange"
	addressPath  = "github.com/sw4rm/sw4rm-go/runtime/address"
)

// locals are the names of parameters, receivers and fields in generated code; no import may have one.
var locals = [...]string{"c", "ctx", "fn", "h", "k", "msg", "opts", "out", "r", "req", "s", "to"}

// nameImports gives each package that the file may import a name of its own, the same whatever else is generated.
func nameImports(out *jen.File, f *schema.File) {
	taken := make(map[string]bool)
	for _, p := range []string{contextPath, iterPath, timePath, exchangePath, addressPath} {
		taken[path.Base(p)] = true
		out.ImportName(p, path.Base(p))
	}
	names := map[protogen.GoImportPath]bool{f.Proto.GoImportPath: true}
	for _, s := range f.Services {
		for _, e := range s.Exchanges {
			names[e.Request.GoIdent.GoImportPath] = true
			names[e.Reply.GoIdent.GoImportPath] = true
		}
	}
	delete(names, f.Package.Path)
	delete(names, exchangePath)
	delete(names, addressPath)
	paths := make([]protogen.GoImportPath, 0, len(names))
	for p := range names {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	for _, p := range paths {
		base := strings.ToLower(string(f.PackageNames[p]))
		if !token.IsIdentifier(base) || base == "_" {
			base = "pb"
		}
		name := base
		for n := 2; taken[name] || reserved(name); n++ {
			name = fmt.Sprintf("%s%d", base, n)
		}
		taken[name] = true
		if name == path.Base(string(p)) && name == string(f.PackageNames[p]) {
			out.ImportName(string(p), name)
		} else {
			out.ImportAlias(string(p), name)
		}
	}
}

// reserved tells whether an import of that name would be shadowed, or shadow what generated code needs.
func reserved(name string) bool {
	return token.IsKeyword(name) || types.Universe.Lookup(name) != nil || jen.IsReservedWord(name) ||
		slices.Contains(locals[:], name) || name == "init" || name == "main"
}

// groupImports moves the standard library's packages to the top of the import block, in a group of their own.
func groupImports(source []byte) []byte {
	const open, end = "\nimport (\n", "\n)\n"
	head, rest, ok := bytes.Cut(source, []byte(open))
	if !ok {
		return source
	}
	block, body, ok := bytes.Cut(rest, []byte(end))
	if !ok {
		return source
	}
	var standard, others []byte
	for line := range bytes.Lines(append(block, '\n')) {
		_, p, _ := bytes.Cut(line, []byte{'"'})
		if first, _, _ := bytes.Cut(p, []byte{'/'}); bytes.ContainsRune(first, '.') {
			others = append(others, line...)
		} else {
			standard = append(standard, line...)
		}
	}
	return bytes.Join([][]byte{head, []byte(open), standard, []byte("\n"), others, []byte(end[1:]), body}, nil)
}
