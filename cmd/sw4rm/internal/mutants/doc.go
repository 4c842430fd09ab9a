// Package mutants plants bugs, one at a time, and wants the project's own campaigns to find each: a campaign that lets one
// pass could not have found the real one. Its tests are behind the build tag mutants:
//
//	make mutants
//
// A mutant is a small change to one file, laid over the source by the go command while it builds the campaign. No planted
// bug is ever part of a program.
package mutants
