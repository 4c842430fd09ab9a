// Package badinput holds the table of bad input: each row is something that may not be sent, said, configured or typed, with
// the code or typed error that it gets. It has tests only.
package badinput
