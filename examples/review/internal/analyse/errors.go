package analyse

import (
	"go/ast"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	reviewv1 "github.com/sw4rm/sw4rm-go/examples/review/proto/acme/review/v1"
)

// returnError has functions of the standard library, by import path, whose last result is an error that matters.
var returnError = map[string][]string{
	"encoding/binary": {"Read", "Write"},
	"encoding/json":   {"Compact", "Indent", "Unmarshal"},
	"encoding/xml":    {"Unmarshal"},
	"io":              {"Copy", "CopyBuffer", "CopyN", "ReadFull", "WriteString"},
	"net/http":        {"ListenAndServe", "ListenAndServeTLS", "Serve"},
	"os": {
		"Chdir", "Chmod", "Chown", "Link", "Mkdir", "MkdirAll", "Remove", "RemoveAll", "Rename", "Setenv", "Symlink",
		"Truncate", "Unsetenv", "WriteFile",
	},
	"path/filepath": {"Walk", "WalkDir"},
	"runtime/pprof": {"StartCPUProfile", "WriteHeapProfile"},
}

// noError has functions and methods of the standard library, by name, whose last result is not an error, so that it may
// be left out.
var noError = []string{
	"Caller", "Cut", "CutPrefix", "CutSuffix", "DecodeLastRune", "DecodeLastRuneInString", "DecodeRune",
	"DecodeRuneInString", "FromContext", "InfoFrom", "Load", "LoadAndDelete", "LoadOrStore", "LookupEnv", "ReadBuildInfo",
	"Split", "SplitHostPort", "BinarySearch", "BinarySearchFunc", "Deadline", "BasicAuth", "Frexp", "Modf", "Mul64",
}

// checkErrors reports how errors are thrown away, compared and written.
func (s scope) checkErrors(n ast.Node) {
	switch n := n.(type) {
	case *ast.AssignStmt:
		s.checkBlank(n)
	case *ast.ExprStmt:
		s.checkUnused(n.X)
	case *ast.GoStmt:
		s.checkUnused(n.Call)
	case *ast.BinaryExpr:
		s.checkComparison(n)
	case *ast.SwitchStmt:
		s.checkSwitch(n)
	case *ast.CallExpr:
		s.checkErrorText(n)
		s.checkWrapping(n)
	}
}

// checkBlank reports a call whose last result, by custom its error, is assigned to the blank name.
func (s scope) checkBlank(a *ast.AssignStmt) {
	if len(a.Rhs) != 1 || !isBlank(a.Lhs[len(a.Lhs)-1]) {
		return
	}
	call, ok := a.Rhs[0].(*ast.CallExpr)
	if !ok || s.harmless(call) || (len(a.Lhs) == 1 && !s.mayReturnError(call)) {
		return
	}
	if len(a.Lhs) > 1 && allBlank(a.Lhs) && s.prints(call) {
		return
	}
	severity := reviewv1.Severity_SEVERITY_WARNING
	if s.f.test {
		severity = reviewv1.Severity_SEVERITY_NOTE
	}
	s.report(a, reviewv1.Check_CHECK_IGNORED_ERROR, severity,
		"the last result of %s, by custom its error, is thrown away", nameOf(call.Fun))
}

// harmless tells whether the call's last result is known not to be an error.
func (s scope) harmless(call *ast.CallExpr) bool {
	switch fun := call.Fun.(type) {
	case *ast.SelectorExpr:
		return slices.Contains(noError, fun.Sel.Name) || s.f.declaredWithoutError(fun.Sel.Name)
	case *ast.Ident:
		return slices.Contains(builtins, fun.Name) || s.f.declaredWithoutError(fun.Name)
	default:
		return false
	}
}

// declaredWithoutError tells whether the file declares functions or methods of this name, and none has an error as its
// last result.
func (f *file) declaredWithoutError(name string) bool {
	declared := false
	for _, decl := range f.tree.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || fn.Name.Name != name {
			continue
		}
		declared = true
		results := flatten(fn.Type.Results)
		if len(results) == 0 {
			continue
		}
		if id, ok := results[len(results)-1].(*ast.Ident); ok && id.Name == "error" {
			return false
		}
	}
	return declared
}

// mayReturnError tells whether the only result of the call is likely an error: not that of a conversion, nor of a
// function literal.
func (s scope) mayReturnError(call *ast.CallExpr) bool {
	switch call.Fun.(type) {
	case *ast.SelectorExpr, *ast.Ident:
		return true
	default:
		return false
	}
}

// prints tells whether the call writes text, where an explicit "_, _ =" is a common way to say that it may fail.
func (s scope) prints(call *ast.CallExpr) bool {
	return s.f.calls(call, "fmt", "Print", "Printf", "Println", "Fprint", "Fprintf", "Fprintln")
}

// checkUnused reports a statement that calls a function of the standard library and drops its error.
func (s scope) checkUnused(e ast.Expr) {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return
	}
	p, name := s.f.qualified(call.Fun)
	if slices.Contains(returnError[p], name) {
		s.report(call, reviewv1.Check_CHECK_IGNORED_ERROR, reviewv1.Severity_SEVERITY_ERROR,
			"the error of %s is not looked at", nameOf(call.Fun))
	}
}

// checkComparison reports err == ErrSomething, except in methods named Is, which are made for it.
func (s scope) checkComparison(b *ast.BinaryExpr) {
	if b.Op != token.EQL && b.Op != token.NEQ || s.inIs() {
		return
	}
	for _, pair := range [][2]ast.Expr{{b.X, b.Y}, {b.Y, b.X}} {
		if isErrorName(pair[0]) && isSentinel(pair[1]) {
			s.report(b, reviewv1.Check_CHECK_ERROR_COMPARISON, reviewv1.Severity_SEVERITY_WARNING,
				"%s %s %s misses wrapped errors; use errors.Is", nameOf(b.X), b.Op, nameOf(b.Y))
			return
		}
	}
}

// checkSwitch reports switch err { case ErrSomething: }.
func (s scope) checkSwitch(sw *ast.SwitchStmt) {
	if sw.Tag == nil || !isErrorName(sw.Tag) || s.inIs() {
		return
	}
	for _, clause := range sw.Body.List {
		c, ok := clause.(*ast.CaseClause)
		if ok && slices.ContainsFunc(c.List, isSentinel) {
			s.report(c, reviewv1.Check_CHECK_ERROR_COMPARISON, reviewv1.Severity_SEVERITY_WARNING,
				"a switch over %s misses wrapped errors; use errors.Is", nameOf(sw.Tag))
		}
	}
}

func (s scope) inIs() bool { return s.fn != nil && s.fn.Recv != nil && s.fn.Name.Name == "Is" }

// checkErrorText reports texts that read badly inside other errors' texts.
func (s scope) checkErrorText(call *ast.CallExpr) {
	if !s.f.calls(call, "errors", "New") && !s.f.calls(call, "fmt", "Errorf") {
		return
	}
	text, ok := stringArg(call)
	if !ok || text == "" {
		return
	}
	switch {
	case strings.ContainsRune(".!\n", rune(text[len(text)-1])) && !strings.HasSuffix(text, "..."):
		s.report(call.Args[0], reviewv1.Check_CHECK_ERROR_TEXT, reviewv1.Severity_SEVERITY_NOTE,
			"the error's text ends with punctuation or a new line")
	case capitalised(text):
		s.report(call.Args[0], reviewv1.Check_CHECK_ERROR_TEXT, reviewv1.Severity_SEVERITY_NOTE,
			"the error's text begins with a capital letter")
	}
}

// checkWrapping reports fmt.Errorf with an error among its arguments and no %w.
func (s scope) checkWrapping(call *ast.CallExpr) {
	if !s.f.calls(call, "fmt", "Errorf") {
		return
	}
	format, ok := stringArg(call)
	if !ok || strings.Contains(format, "%w") {
		return
	}
	for _, arg := range call.Args[1:] {
		if isErrorName(arg) {
			s.report(call, reviewv1.Check_CHECK_UNWRAPPED_ERROR, reviewv1.Severity_SEVERITY_WARNING,
				"%s is written into the text without %%w, so errors.Is and errors.As do not find it", nameOf(arg))
			return
		}
	}
}

// stringArg returns the first argument when it is a string literal.
func stringArg(call *ast.CallExpr) (string, bool) {
	if len(call.Args) == 0 {
		return "", false
	}
	lit, ok := call.Args[0].(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(lit.Value)
	return text, err == nil
}

// capitalised tells whether the text's first word is an ordinary word with a capital letter, not an acronym or a name
// such as GetName.
func capitalised(text string) bool {
	word, _, _ := strings.Cut(text, " ")
	first, size := utf8.DecodeRuneInString(word)
	if !unicode.IsUpper(first) || len(word) == size {
		return false
	}
	return strings.IndexFunc(word[size:], func(r rune) bool { return !unicode.IsLower(r) }) < 0
}

// isErrorName tells whether e is a name that is customary for an error, such as err, readErr or errRead.
func isErrorName(e ast.Expr) bool {
	id, ok := e.(*ast.Ident)
	if !ok {
		return false
	}
	if id.Name == "err" || strings.HasSuffix(id.Name, "Err") {
		return true
	}
	rest, ok := strings.CutPrefix(id.Name, "err")
	return ok && startsUpper(rest)
}

// isSentinel tells whether e is a name that is customary for an error's value, such as io.EOF, ErrClosed or errClosed.
func isSentinel(e ast.Expr) bool {
	switch x := e.(type) {
	case *ast.Ident:
		return sentinelName(x.Name)
	case *ast.SelectorExpr:
		if pkg, ok := x.X.(*ast.Ident); ok && pkg.Name == "io" && x.Sel.Name == "EOF" {
			return true
		}
		return sentinelName(x.Sel.Name)
	default:
		return false
	}
}

func sentinelName(name string) bool {
	for _, prefix := range []string{"Err", "err"} {
		if rest, ok := strings.CutPrefix(name, prefix); ok && startsUpper(rest) {
			return true
		}
	}
	return false
}

func startsUpper(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return unicode.IsUpper(r)
}

func isBlank(e ast.Expr) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == "_"
}

func allBlank(list []ast.Expr) bool {
	return !slices.ContainsFunc(list, func(e ast.Expr) bool { return !isBlank(e) })
}

// nameOf writes a name or selector as in the source, "the function" for anything else.
func nameOf(e ast.Expr) string {
	switch x := e.(type) {
	case *ast.Ident:
		return x.Name
	case *ast.SelectorExpr:
		if _, ok := x.X.(*ast.CallExpr); ok {
			return x.Sel.Name
		}
		return nameOf(x.X) + "." + x.Sel.Name
	case *ast.ParenExpr:
		return nameOf(x.X)
	case *ast.IndexExpr:
		return nameOf(x.X)
	case *ast.IndexListExpr:
		return nameOf(x.X)
	default:
		return "the function"
	}
}
