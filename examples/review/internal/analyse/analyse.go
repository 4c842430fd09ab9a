// Package analyse reviews Go source with the standard library's parser. It looks at one file at a time and knows no types
// of other files, so each check reports only what the text alone shows.
package analyse

import (
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"

	reviewv1 "github.com/sw4rm/sw4rm-go/examples/review/proto/acme/review/v1"
)

// Source reviews the file with the given path and content. A file that is not valid Go gets its syntax errors as
// findings; one that says that it was generated is only parsed. The result has no run id.
func Source(name string, src []byte) *reviewv1.ReviewResponse {
	f := &file{name: name, fset: token.NewFileSet()}
	tree, err := parser.ParseFile(f.fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		f.syntax(err)
	} else {
		f.open(tree)
	}
	res := &reviewv1.ReviewResponse{Lines: lines(src), Findings: f.found}
	if f.tree != nil {
		res.Functions, res.Generated = functions(f.tree), ast.IsGenerated(f.tree)
		if !res.Generated {
			f.check()
			res.Findings = f.found
		}
	}
	slices.SortStableFunc(res.Findings, func(a, b *reviewv1.Finding) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Check, b.Check))
	})
	return res
}

// file is one file under review.
type file struct {
	name string
	fset *token.FileSet
	tree *ast.File
	// imports has the import paths by the names under which the file knows them.
	imports map[string]string
	// test and main tell whether the file is a test, and whether it belongs to a program.
	test, main bool
	found      []*reviewv1.Finding
}

func (f *file) open(tree *ast.File) {
	f.tree = tree
	f.test = strings.HasSuffix(f.name, "_test.go")
	f.main = tree.Name.Name == "main"
	f.imports = make(map[string]string, len(tree.Imports))
	for _, spec := range tree.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		name := path.Base(p)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		f.imports[name] = p
	}
}

// check runs every check over the file.
func (f *file) check() {
	f.checkImports()
	f.checkDocs()
	for _, decl := range f.tree.Decls {
		f.checkDecl(decl)
	}
}

// checkDecl runs the checks that look at one declaration and what is in it.
func (f *file) checkDecl(decl ast.Decl) {
	scope := scope{f: f}
	if fn, ok := decl.(*ast.FuncDecl); ok {
		scope.fn = fn
		scope.symbol = symbolOf(fn)
		f.checkFunction(scope, fn)
	}
	ast.Inspect(decl, func(n ast.Node) bool {
		scope.checkErrors(n)
		scope.checkBody(n)
		scope.checkNames(n)
		return true
	})
}

// scope is the declaration that a check is in.
type scope struct {
	f *file
	// fn is nil outside functions.
	fn     *ast.FuncDecl
	symbol string
}

func (s scope) report(at ast.Node, check reviewv1.Check, severity reviewv1.Severity, format string, args ...any) {
	s.f.report(at.Pos(), s.symbol, check, severity, format, args...)
}

func (f *file) report(at token.Pos, symbol string, check reviewv1.Check, severity reviewv1.Severity, format string, args ...any) {
	pos := f.fset.PositionFor(at, false)
	f.found = append(f.found, &reviewv1.Finding{
		Check:    check,
		Severity: severity,
		Line:     int32(pos.Line),
		Column:   int32(pos.Column),
		Symbol:   symbol,
		Message:  fmt.Sprintf(format, args...),
	})
}

// syntax reports the errors of the parser.
func (f *file) syntax(err error) {
	var list scanner.ErrorList
	if !errors.As(err, &list) {
		list = scanner.ErrorList{{Pos: token.Position{Line: 1, Column: 1}, Msg: err.Error()}}
	}
	for _, e := range list {
		f.found = append(f.found, &reviewv1.Finding{
			Check:    reviewv1.Check_CHECK_SYNTAX,
			Severity: reviewv1.Severity_SEVERITY_ERROR,
			Line:     int32(e.Pos.Line),
			Column:   int32(e.Pos.Column),
			Message:  strings.ToValidUTF8(e.Msg, "\uFFFD"),
		})
	}
}

// calls tells whether e is a call of the function with the given import path and name, under whatever name the file
// imports it.
func (f *file) calls(e ast.Expr, importPath string, names ...string) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	p, name := f.qualified(call.Fun)
	return p == importPath && slices.Contains(names, name)
}

// qualified returns import path and name of an expression such as fmt.Errorf, empty strings for any other.
func (f *file) qualified(e ast.Expr) (importPath, name string) {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok {
		return "", ""
	}
	x, ok := sel.X.(*ast.Ident)
	if !ok {
		return "", ""
	}
	p, ok := f.imports[x.Name]
	if !ok {
		return "", ""
	}
	return p, sel.Sel.Name
}

func lines(src []byte) int32 {
	if len(src) == 0 {
		return 0
	}
	n := strings.Count(string(src), "\n")
	if src[len(src)-1] != '\n' {
		n++
	}
	return int32(n)
}

func functions(tree *ast.File) int32 {
	var n int32
	ast.Inspect(tree, func(node ast.Node) bool {
		switch fn := node.(type) {
		case *ast.FuncDecl:
			if fn.Body != nil {
				n++
			}
		case *ast.FuncLit:
			n++
		}
		return true
	})
	return n
}

// symbolOf returns a function's name with its receiver's type, such as Server.Serve.
func symbolOf(fn *ast.FuncDecl) string {
	if recv := receiver(fn); recv != "" {
		return recv + "." + fn.Name.Name
	}
	return fn.Name.Name
}

// receiver returns the name of a method's type, "" for a function.
func receiver(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return ""
	}
	t := fn.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.ParenExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}
