package schema

import "strconv"

// didYouMean returns a remedy that names the candidate closest to name, or otherwise when none is close.
func didYouMean(name string, candidates []string, otherwise string) string {
	best, distance := "", max(1, len(name)/3)+1
	if len(name) > maxSuggestible {
		return otherwise
	}
	for _, c := range candidates {
		if len(c) > maxSuggestible {
			continue
		}
		if d := editDistance(name, c); d < distance {
			best, distance = c, d
		}
	}
	if best == "" {
		return otherwise
	}
	return "did you mean " + strconv.Quote(best) + "?"
}

// maxSuggestible bounds the work for names that nobody typed.
const maxSuggestible = 256

// editDistance counts the bytes to insert, delete, replace or swap with their neighbour to get from a to b, without
// regard to case.
func editDistance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if lower(a[i-1]) == lower(b[j-1]) {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && lower(a[i-1]) == lower(b[j-2]) && lower(a[i-2]) == lower(b[j-1]) {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
