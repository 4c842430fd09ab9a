package analyse

import "strings"

// checkCase is source with the findings that it must get.
type checkCase struct {
	name, file, src string
	want            []string
}

// body puts statements into a function of a package that imports what they need.
func body(statements string) string {
	return "package a\n\nfunc f(err error) error {\n" + statements + "\n\treturn nil\n}\n"
}

// with is body after imports, which take one line each from line 3 on.
func with(imports, statements string) string {
	var b strings.Builder
	b.WriteString("package a\n\n")
	for p := range strings.FieldsSeq(imports) {
		b.WriteString("import \"" + p + "\"\n")
	}
	b.WriteString("func f(err error) error {\n" + statements + "\n\treturn nil\n}\n")
	return b.String()
}

var checkCases = []checkCase{
	{name: "clean", src: "package a\n\n// F does nothing.\nfunc F() {}\n"},
	{name: "syntax", src: "package a\n\nfunc f( {}\n", want: []string{"3:SYNTAX"}},

	{name: "missing doc of a function", src: "package a\n\nfunc F() {}\n", want: []string{"3:MISSING_DOC F"}},
	{name: "missing doc of a method", src: "package a\n\ntype t[A, B any] struct{}\n\n// T is.\ntype T[A any] struct{}\n\nfunc (*T[A]) M() {}\n\nfunc (t[A, B]) M() {}\n",
		want: []string{"8:MISSING_DOC T.M"}},
	{name: "missing doc of a type", src: "package a\n\ntype (\n\tA int\n\t// B is.\n\tB int\n)\n", want: []string{"4:MISSING_DOC A"}},
	{name: "missing doc of values", src: "package a\n\nconst A, B = 1, 2\n\nvar (\n\tc = 1\n\tD = 2\n\tE = 3 // with a comment\n)\n",
		want: []string{"3:MISSING_DOC A", "7:MISSING_DOC D"}},
	{name: "a group's comment will do", src: "package a\n\n// The values.\nconst (\n\tA = 1\n\tB = 2\n)\n"},
	{name: "programs and tests need none", src: "package main\n\nfunc F() {}\n"},
	{name: "tests need none", file: "a_test.go", src: "package a\n\nfunc TestF() {}\n"},
	{name: "doc form", src: "package a\n\n// Does nothing.\nfunc F() {}\n\n// A T is.\ntype T int\n\n// T's twin.\ntype U int\n",
		want: []string{"3:DOC_FORM F", "9:DOC_FORM U"}},
	{name: "doc form of deprecated names", src: "package a\n\n// Deprecated: use G.\nfunc F() {}\n"},

	{name: "ignored error of an assignment", src: body("\t_ = g()\n\tv, _ := h()\n\tuse(v)"),
		want: []string{"4:IGNORED_ERROR f", "5:IGNORED_ERROR f"}},
	{name: "blank without an error", src: with("strings", "\ta, b, _ := strings.Cut(\"\", \"\")\n\tv, _ := m[a]\n\tw, _ := x.(int)\n\tfor _ = range v {\n\t\tuse(b, w)\n\t}\n\t_ = len(a)")},
	{name: "ignored results of functions in the file", src: "package a\n\nfunc f() {\n\tv, _ := g()\n\tw, _ := h()\n\tuse(v, w)\n}\n\nfunc g() (int, bool) { return 0, true }\n\nfunc h() (int, error) { return 0, nil }\n",
		want: []string{"5:IGNORED_ERROR f"}},
	{name: "printing may fail", src: with("fmt", "\t_, _ = fmt.Println(err)")},
	{name: "ignored error of a statement", src: with("os io", "\tos.Remove(\"a\")\n\tgo io.Copy(a, b)\n\tdefer os.Remove(\"b\")\n\tos.Exit(1)"),
		want: []string{"6:IGNORED_ERROR f", "7:IGNORED_ERROR f"}},
	{name: "ignored error under another name", src: "package a\n\nimport files \"os\"\n\nfunc f() {\n\tfiles.Remove(\"a\")\n\tos.Remove(\"a\")\n}\n",
		want: []string{"6:IGNORED_ERROR f"}},

	{name: "error comparison", src: with("io", "\tif err == io.EOF || ErrClosed != err {\n\t\treturn err\n\t}\n\tif err == nil || readErr == nil {\n\t\treturn nil\n\t}"),
		want: []string{"5:ERROR_COMPARISON f", "5:ERROR_COMPARISON f"}},
	{name: "error comparison of a switch", src: body("\tswitch err {\n\tcase nil:\n\tcase errBusy, ErrClosed:\n\t}"),
		want: []string{"6:ERROR_COMPARISON f"}},
	{name: "error comparison in Is", src: "package a\n\nfunc (e t) Is(err error) bool { return err == errBusy }\n"},

	{name: "unwrapped error", src: with("fmt", "\ta := fmt.Errorf(\"read: %v\", err)\n\tb := fmt.Errorf(\"read: %w\", err)\n\tc := fmt.Errorf(\"read %d\", n)\n\tuse(a, b, c)"),
		want: []string{"5:UNWRAPPED_ERROR f"}},
	{name: "error text", src: with("fmt errors", "\ta := errors.New(\"Read failed\")\n\tb := fmt.Errorf(\"failed.\")\n\tc := errors.New(\"TTL is over\")\n\td := errors.New(\"GetName is gone\")\n\te := errors.New(\"wait...\")\n\tuse(a, b, c, d, e)"),
		want: []string{"6:ERROR_TEXT f", "7:ERROR_TEXT f"}},

	{name: "long function", src: body(strings.Repeat("\tg()\n", 80)), want: []string{"3:LONG_FUNCTION f"}},
	{name: "tests may be longer", file: "a_test.go", src: body(strings.Repeat("\tg()\n", 80))},
	{name: "complex function", src: body(strings.Repeat("\tif a && b {\n\t\tg()\n\t}\n", 8)), want: []string{"3:COMPLEX_FUNCTION f"}},
	{name: "not complex", src: body(strings.Repeat("\tif a && b {\n\t\tg()\n\t}\n", 7))},
	{name: "deep nesting", src: body("\tfor {\n\t\tif a {\n\t\t\tswitch {\n\t\t\tcase b:\n\t\t\t\tfor {\n\t\t\t\t\tif c {\n\t\t\t\t\t\tg()\n\t\t\t\t\t}\n\t\t\t\t}\n\t\t\t}\n\t\t}\n\t}"),
		want: []string{"9:DEEP_NESTING f"}},
	{name: "else-if is not deeper", src: body("\tif a {\n\t\tg()\n\t} else if b {\n\t\tg()\n\t} else if c {\n\t\tg()\n\t} else if d {\n\t\tg()\n\t} else if e {\n\t\tg()\n\t}")},

	{name: "many parameters", src: "package a\n\nfunc f(a, b, c int, d, e, g string) {}\n", want: []string{"3:MANY_PARAMETERS f"}},
	{name: "context position", src: "package a\n\nimport \"context\"\n\nfunc f(n int, ctx context.Context) {}\n\nfunc g(ctx context.Context, n int) {}\n",
		want: []string{"5:CONTEXT_POSITION f"}},
	{name: "context after testing", file: "a_test.go", src: "package a\n\nimport (\n\t\"context\"\n\t\"testing\"\n)\n\nfunc f(t *testing.T, ctx context.Context) {}\n"},
	{name: "context stored", src: "package a\n\nimport \"context\"\n\ntype t struct {\n\tctx context.Context\n\tfn  func(context.Context)\n}\n",
		want: []string{"6:CONTEXT_STORED"}},
	{name: "error position", src: "package a\n\nfunc f() (error, int) { return nil, 0 }\n\nfunc g() (int, error) { return 0, nil }\n",
		want: []string{"3:ERROR_POSITION f"}},

	{name: "panic", src: "package a\n\nfunc f() { panic(1) }\n\nfunc mustF() { panic(1) }\n\nfunc init() { panic(1) }\n", want: []string{"3:PANIC f"}},
	{name: "programs may panic", src: "package main\n\nfunc f() { panic(1) }\n"},
	{name: "defer in a loop", src: body("\tfor range a {\n\t\tdefer g()\n\t\tfunc() { defer g() }()\n\t\tfor {\n\t\t\tdefer g()\n\t\t}\n\t}\n\tdefer g()"),
		want: []string{"5:DEFER_IN_LOOP f", "8:DEFER_IN_LOOP f"}},
	{name: "sleep in a test", file: "a_test.go", src: with("time", "\ttime.Sleep(1)"), want: []string{"5:SLEEP_IN_TEST f"}},
	{name: "sleep in a bubble", file: "a_test.go", src: with("time testing/synctest", "\ttime.Sleep(1)")},
	{name: "sleep elsewhere", src: with("time", "\ttime.Sleep(1)")},
	{name: "empty branch", src: body("\tif a {\n\t} else {\n\t\t// why\n\t}\n\tif b {\n\t\tg()\n\t} else {\n\t}"),
		want: []string{"4:EMPTY_BRANCH f", "10:EMPTY_BRANCH f"}},
	{name: "dot import", src: "package a\n\nimport . \"fmt\"\n", want: []string{"3:DOT_IMPORT"}},
	{name: "hidden builtin", src: "package a\n\ntype t struct{ len int }\n\nfunc (t) cap() {}\n\nfunc f(new int) (len int) {\n\tcopy := 1\n\tfor max := range 3 {\n\t\tg(max, copy)\n\t}\n\treturn 0\n}\n",
		want: []string{"7:HIDDEN_BUILTIN f", "7:HIDDEN_BUILTIN f", "8:HIDDEN_BUILTIN f", "9:HIDDEN_BUILTIN f"}},
}
