package emit

import (
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
	timePath     = "time"
	exchangePath = "github.com/sw4rm/sw4rm-go/runtime/exchange"
	addressPath  = "github.com/sw4rm/sw4rm-go/runtime/address"
)

// locals are the names of parameters, receivers and fields in generated code; no import may have one.
var locals = [...]string{"c", "ctx", "h", "k", "msg", "opts", "r", "req", "s", "to"}

// nameImports gives each package that the file may import a name of its own, the same whatever else is generated.
func nameImports(out *jen.File, f *schema.File) {
	taken := make(map[string]bool)
	for _, p := range []string{contextPath, timePath, exchangePath, addressPath} {
		taken[path.Base(p)] = true
		out.ImportName(p, path.Base(p))
	}
	names := make(map[protogen.GoImportPath]string)
	for _, s := range f.Services {
		for _, e := range s.Exchanges {
			for _, m := range []*protogen.Message{e.Request, e.Reply} {
				names[m.GoIdent.GoImportPath] = ""
			}
		}
	}
	delete(names, f.Proto.GoImportPath)
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
