// Not a part of the module: its zip file cannot hold names that differ only by case.
module github.com/sw4rm/sw4rm-go/golden/cases/names

go 1.26.0
