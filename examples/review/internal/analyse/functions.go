package analyse

import (
	"go/ast"
	"go/token"

	reviewv1 "github.com/sw4rm/sw4rm-go/examples/review/proto/acme/review/v1"
)

// What a function may have before it is reported.
const (
	maxLines      = 60
	maxTestLines  = 120
	maxPaths      = 15
	maxDepth      = 4
	maxParameters = 5
)

// checkFunction runs the checks that look at a function as a whole.
func (f *file) checkFunction(s scope, fn *ast.FuncDecl) {
	s.checkSignature(fn.Type)
	if fn.Body == nil {
		return
	}
	s.checkLength(fn)
	if n := paths(fn.Body); n > maxPaths {
		s.report(fn.Name, reviewv1.Check_CHECK_COMPLEX_FUNCTION, reviewv1.Severity_SEVERITY_WARNING,
			"%s has %d paths; more than %d are hard to test", s.symbol, n, maxPaths)
	}
	if at := deepest(fn.Body, 0); at != nil {
		s.report(at, reviewv1.Check_CHECK_DEEP_NESTING, reviewv1.Severity_SEVERITY_WARNING,
			"a block of %s is nested more than %d deep", s.symbol, maxDepth)
	}
}

func (s scope) checkLength(fn *ast.FuncDecl) {
	limit := maxLines
	if s.f.test {
		limit = maxTestLines
	}
	n := s.f.fset.Position(fn.Body.Rbrace).Line - s.f.fset.Position(fn.Body.Lbrace).Line - 1
	if n > limit {
		s.report(fn.Name, reviewv1.Check_CHECK_LONG_FUNCTION, reviewv1.Severity_SEVERITY_WARNING,
			"%s has %d lines; more than %d are hard to read", s.symbol, n, limit)
	}
}

// checkSignature reports too many parameters, a context that is not the first, and an error that is not the last result.
func (s scope) checkSignature(t *ast.FuncType) {
	params := flatten(t.Params)
	if len(params) > maxParameters {
		s.report(t.Params, reviewv1.Check_CHECK_MANY_PARAMETERS, reviewv1.Severity_SEVERITY_NOTE,
			"%s has %d parameters; more than %d are easily mixed up", s.symbol, len(params), maxParameters)
	}
	for i, p := range params {
		if s.f.isContext(p) && i > 0 && !(i == 1 && s.f.isTesting(params[0])) {
			s.report(p, reviewv1.Check_CHECK_CONTEXT_POSITION, reviewv1.Severity_SEVERITY_NOTE,
				"the context of %s is not its first parameter", s.symbol)
			break
		}
	}
	results := flatten(t.Results)
	for i, r := range results {
		if id, ok := r.(*ast.Ident); ok && id.Name == "error" && i < len(results)-1 {
			s.report(r, reviewv1.Check_CHECK_ERROR_POSITION, reviewv1.Severity_SEVERITY_NOTE,
				"the error of %s is not its last result", s.symbol)
			break
		}
	}
}

// flatten returns the type of each parameter or result, as often as it has names.
func flatten(list *ast.FieldList) []ast.Expr {
	if list == nil {
		return nil
	}
	var types []ast.Expr
	for _, field := range list.List {
		for range max(len(field.Names), 1) {
			types = append(types, field.Type)
		}
	}
	return types
}

func (f *file) isContext(t ast.Expr) bool {
	p, name := f.qualified(t)
	return p == "context" && name == "Context"
}

// isTesting accepts *testing.T and its like, which tests put first.
func (f *file) isTesting(t ast.Expr) bool {
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	p, _ := f.qualified(t)
	return p == "testing"
}

// paths counts a body's ways through it: one, and one more for each condition, loop, case and logical operator.
func paths(body ast.Node) int {
	n := 1
	ast.Inspect(body, func(node ast.Node) bool {
		switch x := node.(type) {
		case *ast.IfStmt, *ast.ForStmt, *ast.RangeStmt:
			n++
		case *ast.CaseClause:
			if x.List != nil {
				n++
			}
		case *ast.CommClause:
			if x.Comm != nil {
				n++
			}
		case *ast.BinaryExpr:
			if x.Op == token.LAND || x.Op == token.LOR {
				n++
			}
		}
		return true
	})
	return n
}

// deepest returns the first statement below n that is nested too deep, nil for none. Function literals begin anew, and an
// else-if is as deep as its if.
func deepest(n ast.Node, depth int) ast.Node {
	var found ast.Node
	ast.Inspect(n, func(node ast.Node) bool {
		if found != nil || node == nil || node == n {
			return found == nil
		}
		switch x := node.(type) {
		case *ast.FuncLit:
			found = deepest(x.Body, 0)
			return false
		case *ast.IfStmt:
			found = deepestIf(x, depth)
			return false
		case *ast.ForStmt, *ast.RangeStmt, *ast.SwitchStmt, *ast.TypeSwitchStmt, *ast.SelectStmt:
			found = enter(node, node, depth)
			return false
		}
		return true
	})
	return found
}

func deepestIf(s *ast.IfStmt, depth int) ast.Node {
	if found := enter(s, s.Body, depth); found != nil {
		return found
	}
	switch other := s.Else.(type) {
	case *ast.IfStmt:
		return deepestIf(other, depth)
	case *ast.BlockStmt:
		return enter(s, other, depth)
	default:
		return nil
	}
}

func enter(at, body ast.Node, depth int) ast.Node {
	if depth+1 > maxDepth {
		return at
	}
	return deepest(body, depth+1)
}
