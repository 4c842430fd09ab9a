package plugin_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/plugin/plugintest"
)

// caseCount is how many schema cases there are. Each has a number, and each number a test.
const caseCount = 85

// numbered is a test of one or more schema cases.
type numbered struct {
	numbers []int
	name    string
	run     func(*testing.T)
}

// TestCase runs every schema case: folders of golden/cases and schemas made by programs, whose code is compiled and vetted
// here; folders of golden, whose code is compiled with the module; and programs, for what no schema alone can say.
func TestCase(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the code of every case")
	}
	cases := slices.Concat(schemaCases(t), goldenCases(), requestCases())
	covered := make(map[int]bool)
	for _, c := range cases {
		for _, n := range c.numbers {
			require.True(t, 1 <= n && n <= caseCount, "%s has the number %d", c.name, n)
			covered[n] = true
			t.Run(fmt.Sprintf("%03d_%s", n, c.name), c.run)
		}
	}
	for n := 1; n <= caseCount; n++ {
		require.True(t, covered[n], "nothing tests case %d", n)
	}
}

// goldenCases are the folders of golden that are schema cases.
func goldenCases() []numbered {
	var cases []numbered
	for folder, numbers := range map[string][]int{
		"all":                   {58},
		"aliases":               {10, 11},
		"beside_grpc":           {81},
		"comments":              {31, 32},
		"defaults":              {71},
		"deprecated":            {53},
		"editions":              {49},
		"errors_contradictions": {70},
		"errors_foreign":        {62},
		"errors_keys":           {67, 68},
		"errors_long":           {38},
		"errors_names":          {28, 29, 30},
		"errors_streams":        {51},
		"errors_values":         {63, 65},
		"exchanges":             {51},
		"filenames":             {1, 2, 13, 14},
		"keys":                  {68},
		"keywords":              {25},
		"methods":               {26, 27},
		"nested":                {22, 36},
		"no_package":            {7},
		"opaque":                {48},
		"proto2":                {42},
		"settings":              {59, 64},
		"shapes":                {52},
		"skip":                  {52},
		"suffix":                {30},
		"two_files":             {4},
	} {
		cases = append(cases, numbered{numbers: numbers, name: "golden_" + folder, run: func(t *testing.T) {
			t.Parallel()
			req := plugintest.Golden(t, "../../golden", folder)
			resp := plugintest.Run(t, req)
			plugintest.SameAsGolden(t, "../../golden", folder, resp)
			if !strings.HasPrefix(folder, "errors_") {
				stable(t, req, resp)
			}
		}})
	}
	return cases
}
