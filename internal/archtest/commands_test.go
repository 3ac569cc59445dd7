package archtest

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// variable begins an assignment, and program a command.
var variable = regexp.MustCompile(`^[A-Z_]+=`)

var program = regexp.MustCompile(`^((export )?[A-Z_]+=\S*\s+)*(cd|curl|export|git|go|make|node|npm|scripts/\S+)( |$)`)

func isCommand(line string) bool { return program.MatchString(line) }

// commands returns the commands of a block, a line each, without comments.
func commands(code string) (all []string) {
	code = strings.ReplaceAll(code, "\\\n", " ")
	code = regexp.MustCompile(`\$\([^)]*\)`).ReplaceAllString(code, "x") // what another command prints
	for line := range strings.Lines(code) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), " # ")
		for part := range strings.SplitSeq(line, " && ") {
			if part = strings.TrimSpace(part); part != "" {
				all = append(all, part)
			}
		}
	}
	return all
}

// checkCommands looks at each command of a page: what it runs is there, and takes these arguments.
func checkCommands(t *testing.T, b block) {
	t.Helper()
	dir := "."
	for _, line := range commands(b.code) {
		if why := checkCommand(t, b.page, &dir, line); why != "" {
			t.Errorf("%s has the command\n%s\n%s", b.page, line, why)
		}
	}
}

// checkCommand returns what is wrong with a command that is run in dir.
func checkCommand(t *testing.T, page string, dir *string, line string) string {
	t.Helper()
	if test := runs[page+" "+line]; test != "" {
		return ""
	}
	words := strings.Fields(line)
	var variables []string
	for len(words) > 0 && (words[0] == "export" || variable.MatchString(words[0])) {
		if name, _, ok := strings.Cut(words[0], "="); ok {
			variables = append(variables, name)
		}
		words = words[1:]
	}
	if len(words) == 0 {
		return ""
	}
	is := func(name ...string) bool {
		_, err := os.Stat(filepath.Join(append([]string{root(t), *dir}, name...)...))
		return err == nil
	}
	switch arguments := words[1:]; words[0] {
	case "git":
		if line != "git clone https://"+module {
			return "it is not this project's"
		}
	case "cd":
		if arguments[0] == path.Base(module) {
			break // into the clone
		}
		if !is(arguments[0]) {
			return "there is no such folder"
		}
		*dir = arguments[0]
	case "make":
		makefile := read(t, "Makefile")
		for _, word := range arguments {
			name, _, assigned := strings.Cut(word, "=")
			if assigned && !strings.Contains(makefile, "\n"+name+" ?=") || !assigned && !strings.Contains(makefile, "\n"+name+":") {
				return "the Makefile has no " + name
			}
			if assigned && strings.Contains(word, "'") {
				break // what follows is the rest of its value
			}
		}
	case "npm":
		if i := slices.Index(arguments, "--prefix"); i < 0 || !is(arguments[i+1], "package.json") || arguments[0] == "ci" && !is(arguments[i+1], "package-lock.json") {
			return "there are no packages"
		}
	case "node":
		return checkArguments(t, filepath.Join(*dir, arguments[0]), variables, arguments[1:])
	case "curl":
		if test := runs[page+" curl"]; test == "" || !strings.Contains(read(t, test), path.Base(page)) {
			return "no test runs it"
		}
	case "go":
		return checkGo(t, page, *dir, variables, arguments)
	default: // a script that runs a command
		if !is(words[0]) {
			return "there is no such program"
		}
		if len(arguments) > 0 {
			return checkCommand(t, page, dir, strings.Join(arguments, " "))
		}
	}
	return ""
}

func checkGo(t *testing.T, page, dir string, variables, arguments []string) string {
	t.Helper()
	switch arguments[0] {
	case "mod":
		return ""
	case "get":
		// Of a module alone, go get adds no checksums of what its packages need.
		files, err := filepath.Glob(filepath.Join(root(t), strings.TrimPrefix(arguments[1], module), "*.go"))
		if err != nil || len(files) == 0 {
			return "there is no such package"
		}
		return ""
	}
	i := slices.IndexFunc(arguments, func(s string) bool { return strings.HasPrefix(s, ".") })
	if i < 0 {
		return "it has no package"
	}
	folder := path.Join(dir, arguments[i])
	if dir == "." && arguments[i] == "." {
		folder = path.Dir(page)
	}
	if strings.HasSuffix(folder, "...") {
		return ""
	}
	files, err := filepath.Glob(filepath.Join(root(t), folder, "*.go"))
	if err != nil || len(files) == 0 {
		return "there is no package " + folder
	}
	if arguments[0] == "test" {
		j := slices.Index(arguments, "-run")
		for name, folders := range testNames(t) {
			if j < 0 || slices.Contains(folders, path.Base(folder)) && regexp.MustCompile(arguments[j+1]).MatchString(name) {
				return ""
			}
		}
		return "no test has such a name"
	}
	if k := slices.Index(arguments, "-tags"); k >= 0 && !strings.Contains(source(t, folder), "//go:build "+arguments[k+1]+"\n") {
		return "no file has this tag"
	}
	return checkArguments(t, folder, variables, arguments[i+1:])
}

// checkArguments returns what is wrong with the arguments and the environment of a program,
// a folder or a file: it knows these flags and variables, and the files are there.
func checkArguments(t *testing.T, program string, variables, arguments []string) string {
	t.Helper()
	text := source(t, program)
	for _, word := range arguments {
		word = strings.Trim(word, "[]")
		flag := strings.TrimLeft(word, "-")
		switch {
		case word != flag && !strings.Contains(text, `"`+flag+`"`) && !strings.Contains(text, flag+": {") && !strings.Contains(text, `'`+flag+`'`):
			return program + " has no flag " + word
		case strings.Contains(word, "/") && !strings.Contains(word, ":"):
			text += read(t, word)
		}
	}
	for _, name := range variables {
		if !strings.Contains(text, name) {
			return program + " does not read " + name
		}
	}
	return ""
}

// source returns the text of a file, or of the Go files of a folder.
func source(t *testing.T, name string) string {
	t.Helper()
	if path.Ext(name) != "" {
		return read(t, name)
	}
	files, err := filepath.Glob(filepath.Join(root(t), name, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, file := range files {
		all.WriteString(read(t, path.Join(name, filepath.Base(file))))
	}
	return all.String()
}
