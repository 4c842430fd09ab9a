package analyse

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"

	reviewv1 "github.com/sw4rm/sw4rm-go/examples/review/proto/acme/review/v1"
)

// builtins are the predeclared functions, types and values that a program is likely to need where they are hidden.
var builtins = []string{
	"any", "append", "bool", "byte", "cap", "clear", "close", "copy", "delete", "error", "false", "float64", "int", "int64",
	"iota", "len", "make", "max", "min", "new", "nil", "panic", "recover", "rune", "string", "true", "uint", "uint64",
}

// checkBody reports single statements and expressions.
func (s scope) checkBody(n ast.Node) {
	switch n := n.(type) {
	case *ast.CallExpr:
		s.checkPanic(n)
		s.checkSleep(n)
	case *ast.ForStmt:
		s.checkDefers(n.Body)
	case *ast.RangeStmt:
		s.checkDefers(n.Body)
	case *ast.IfStmt:
		s.checkEmpty(n.Body, "if")
		if block, ok := n.Else.(*ast.BlockStmt); ok {
			s.checkEmpty(block, "else")
		}
	case *ast.StructType:
		s.checkStored(n)
	}
}

// checkPanic reports panics of libraries, except in functions whose name announces them.
func (s scope) checkPanic(call *ast.CallExpr) {
	id, ok := call.Fun.(*ast.Ident)
	if !ok || id.Name != "panic" || s.f.test || s.f.main || s.fn == nil {
		return
	}
	name := strings.ToLower(s.fn.Name.Name)
	if strings.HasPrefix(name, "must") || name == "init" {
		return
	}
	s.report(call, reviewv1.Check_CHECK_PANIC, reviewv1.Severity_SEVERITY_WARNING,
		"%s panics; a library returns an error", s.symbol)
}

// checkSleep reports tests that wait for time to pass. In a synctest bubble time is not real.
func (s scope) checkSleep(call *ast.CallExpr) {
	if !s.f.test || !s.f.calls(call, "time", "Sleep") {
		return
	}
	for _, p := range s.f.imports {
		if p == "testing/synctest" {
			return
		}
	}
	s.report(call, reviewv1.Check_CHECK_SLEEP_IN_TEST, reviewv1.Severity_SEVERITY_NOTE,
		"the test sleeps, which is slow or not long enough; wait for what it needs")
}

// checkDefers reports deferred calls directly in a loop's body.
func (s scope) checkDefers(body *ast.BlockStmt) {
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit, *ast.ForStmt, *ast.RangeStmt:
			return false // a function ends by itself; an inner loop is checked by itself
		case *ast.DeferStmt:
			s.report(n, reviewv1.Check_CHECK_DEFER_IN_LOOP, reviewv1.Severity_SEVERITY_WARNING,
				"the deferred call runs at the end of the function, not of the loop")
		}
		return true
	})
}

// checkEmpty reports a branch without statements and without a comment that says why.
func (s scope) checkEmpty(block *ast.BlockStmt, kind string) {
	if len(block.List) > 0 {
		return
	}
	for _, group := range s.f.tree.Comments {
		if group.Pos() > block.Lbrace && group.End() <= block.Rbrace {
			return
		}
	}
	s.report(block, reviewv1.Check_CHECK_EMPTY_BRANCH, reviewv1.Severity_SEVERITY_NOTE, "the %s branch is empty", kind)
}

// checkStored reports a context in a struct, where nobody can tell how long it lives.
func (s scope) checkStored(t *ast.StructType) {
	for _, field := range t.Fields.List {
		if s.f.isContext(field.Type) {
			s.report(field, reviewv1.Check_CHECK_CONTEXT_STORED, reviewv1.Severity_SEVERITY_WARNING,
				"a context is kept in a struct; pass it to the functions that need it")
		}
	}
}

// checkNames reports declared names that hide predeclared ones. Fields and methods hide nothing.
func (s scope) checkNames(n ast.Node) {
	switch n := n.(type) {
	case *ast.AssignStmt:
		if n.Tok == token.DEFINE {
			for _, e := range n.Lhs {
				s.checkName(e)
			}
		}
	case *ast.RangeStmt:
		if n.Tok == token.DEFINE {
			s.checkName(n.Key)
			s.checkName(n.Value)
		}
	case *ast.ValueSpec:
		for _, id := range n.Names {
			s.checkName(id)
		}
	case *ast.TypeSpec:
		s.checkName(n.Name)
	case *ast.FuncType:
		s.checkFields(n.Params)
		s.checkFields(n.Results)
	case *ast.FuncDecl:
		if n.Recv == nil {
			s.checkName(n.Name)
		}
	}
}

func (s scope) checkFields(list *ast.FieldList) {
	if list == nil {
		return
	}
	for _, field := range list.List {
		for _, id := range field.Names {
			s.checkName(id)
		}
	}
}

func (s scope) checkName(e ast.Expr) {
	id, ok := e.(*ast.Ident)
	if ok && id != nil && slices.Contains(builtins, id.Name) {
		s.report(id, reviewv1.Check_CHECK_HIDDEN_BUILTIN, reviewv1.Severity_SEVERITY_NOTE,
			"%s hides the predeclared %s", id.Name, id.Name)
	}
}
