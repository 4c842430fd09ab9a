package plugintest

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/pluginpb"
)

// Compiles tells what is wrong with the code in resp, which was generated for req with paths=import, beside the messages'
// code. ok is false when the messages' code is wrong already, so that nothing can be said.
func Compiles(t testing.TB, req *pluginpb.CodeGeneratorRequest, resp *pluginpb.CodeGeneratorResponse) (ok bool, err error) {
	t.Helper()
	all := proto.Clone(req).(*pluginpb.CodeGeneratorRequest)
	all.Parameter = nil
	all.FileToGenerate = nil
	gen, err := protogen.Options{}.New(proto.Clone(req).(*pluginpb.CodeGeneratorRequest))
	if err != nil {
		return false, err
	}
	for _, f := range gen.Files {
		if real := strings.HasPrefix(string(f.GoImportPath), "google.golang.org/") || strings.HasPrefix(string(f.GoImportPath), module); !real {
			all.FileToGenerate = append(all.FileToGenerate, f.Desc.Path())
		}
	}
	c := &packages{fset: token.NewFileSet(), source: make(map[string][]*ast.File), checked: make(map[string]*types.Package)}
	if err := c.parse(Messages(t, all)); err != nil {
		return false, err
	}
	for p := range c.source {
		if _, err := c.Import(p); err != nil {
			return false, err
		}
	}
	if err := c.parse(Contents(resp)); err != nil {
		return true, err
	}
	clear(c.checked)
	for p := range c.source {
		if _, err := c.Import(p); err != nil {
			return true, err
		}
	}
	return true, nil
}

// module has the packages that generated code links.
const module = "github.com/sw4rm/sw4rm-go/"

// packages imports what was generated from its source, and everything else from what the go command has compiled.
type packages struct {
	fset    *token.FileSet
	source  map[string][]*ast.File
	checked map[string]*types.Package
}

func (c *packages) parse(files map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if path.Ext(name) != ".go" {
			continue
		}
		file, err := parser.ParseFile(c.fset, name, files[name], parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		p := path.Dir(name)
		c.source[p] = append(c.source[p], file)
	}
	return nil
}

// Import implements types.Importer.
func (c *packages) Import(p string) (*types.Package, error) {
	if pkg := c.checked[p]; pkg != nil {
		return pkg, nil
	}
	files, ok := c.source[p]
	if !ok {
		pkg, err := compiled().Import(p)
		if err != nil {
			return nil, fmt.Errorf("import %q: %w", p, err)
		}
		return pkg, nil
	}
	pkg, err := (&types.Config{Importer: c}).Check(p, c.fset, files, nil)
	if err != nil {
		return nil, err
	}
	c.checked[p] = pkg
	return pkg, nil
}

// locked is an importer for several goroutines.
type locked struct {
	mu sync.Mutex
	types.Importer
}

func (l *locked) Import(p string) (*types.Package, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Importer.Import(p)
}

// compiled imports what generated code of any kind links. It is made once in a process: the go command is slow.
var compiled = sync.OnceValue(func() types.Importer {
	out, err := exec.Command("go", "list", "-export", "-deps", "-f", "{{if .Export}}{{.ImportPath}} {{.Export}}{{end}}",
		module+"runtime/exchange", module+"runtime/address", module+"proto/sw4rm/options/v1", "google.golang.org/protobuf/types/...").Output()
	if err != nil {
		return failing{err}
	}
	exports := make(map[string]string)
	for line := range bytes.Lines(out) {
		p, file, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
		exports[p] = file
	}
	return &locked{Importer: importer.ForCompiler(token.NewFileSet(), "gc", func(p string) (io.ReadCloser, error) {
		file, ok := exports[p]
		if !ok {
			return nil, fmt.Errorf("no package %q", p)
		}
		return os.Open(file)
	})}
})

type failing struct{ err error }

func (f failing) Import(string) (*types.Package, error) { return nil, f.err }

// MustCompile fails unless Compiles finds nothing wrong, or nothing can be said.
func MustCompile(t testing.TB, req *pluginpb.CodeGeneratorRequest, resp *pluginpb.CodeGeneratorResponse) {
	t.Helper()
	if ok, err := Compiles(t, req, resp); ok {
		require.NoError(t, err)
	}
}
