package analyse

import (
	"go/ast"
	"go/token"
	"strings"

	reviewv1 "github.com/sw4rm/sw4rm-go/examples/review/proto/acme/review/v1"
)

// checkImports reports imports with a dot, which tests of a package from outside may need.
func (f *file) checkImports() {
	if f.test {
		return
	}
	for _, spec := range f.tree.Imports {
		if spec.Name != nil && spec.Name.Name == "." {
			f.report(spec.Pos(), "", reviewv1.Check_CHECK_DOT_IMPORT, reviewv1.Severity_SEVERITY_NOTE,
				"%s is imported with a dot, so a reader cannot tell where its names come from", spec.Path.Value)
		}
	}
}

// checkDocs reports exported names of a library without a doc comment, and comments that do not begin with the name.
func (f *file) checkDocs() {
	if f.test || f.main {
		return
	}
	for _, decl := range f.tree.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			f.checkFuncDoc(d)
		case *ast.GenDecl:
			f.checkGenDoc(d)
		}
	}
}

func (f *file) checkFuncDoc(fn *ast.FuncDecl) {
	if !fn.Name.IsExported() {
		return
	}
	kind := "function"
	if fn.Recv != nil {
		if !ast.IsExported(receiver(fn)) {
			return
		}
		kind = "method"
	}
	f.checkDoc(fn.Name, symbolOf(fn), kind, fn.Doc)
}

func (f *file) checkGenDoc(d *ast.GenDecl) {
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			doc := s.Doc
			if doc == nil && !d.Lparen.IsValid() {
				doc = d.Doc
			}
			if s.Name.IsExported() {
				f.checkDoc(s.Name, s.Name.Name, "type", doc)
			}
		case *ast.ValueSpec:
			f.checkValueDoc(d, s)
		}
	}
}

// checkValueDoc is content with a comment on the group, above the line, or at its end.
func (f *file) checkValueDoc(d *ast.GenDecl, s *ast.ValueSpec) {
	if d.Doc != nil || s.Doc != nil || s.Comment != nil {
		return
	}
	kind := "variable"
	if d.Tok == token.CONST {
		kind = "constant"
	}
	for _, name := range s.Names {
		if name.IsExported() {
			f.missingDoc(name, name.Name, kind)
			return
		}
	}
}

func (f *file) checkDoc(name *ast.Ident, symbol, kind string, doc *ast.CommentGroup) {
	text := doc.Text()
	if strings.TrimSpace(text) == "" {
		f.missingDoc(name, symbol, kind)
		return
	}
	if !beginsWithName(text, name.Name) {
		f.report(doc.Pos(), symbol, reviewv1.Check_CHECK_DOC_FORM, reviewv1.Severity_SEVERITY_NOTE,
			"the comment of %s %s does not begin with its name", kind, symbol)
	}
}

func (f *file) missingDoc(name *ast.Ident, symbol, kind string) {
	f.report(name.Pos(), symbol, reviewv1.Check_CHECK_MISSING_DOC, reviewv1.Severity_SEVERITY_WARNING,
		"exported %s %s has no doc comment", kind, symbol)
}

// beginsWithName accepts "Name …", "A Name …" and comments that say that the name is deprecated.
func beginsWithName(text, name string) bool {
	words := strings.Fields(text)
	if len(words) > 1 && (words[0] == "A" || words[0] == "An" || words[0] == "The") {
		words = words[1:]
	}
	if len(words) == 0 || words[0] == "Deprecated:" {
		return true
	}
	rest, ok := strings.CutPrefix(words[0], name)
	return ok && strings.Trim(rest, ".,:;'s") == ""
}
