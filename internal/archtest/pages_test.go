package archtest

import (
	"cmp"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	configuration "github.com/samesid/samesid/adapter/config"
)

// runs maps the code of a page that a test of its own takes from the page and runs, to the
// file of that test.
var runs = map[string]string{
	"README.md go run .":                   "internal/archtest/readme_test.go",
	"README.md console":                    "internal/archtest/readme_test.go",
	"docs/configuration.md yaml":           "adapter/config/generate_test.go", // it makes the page
	"docs/deployments.md redis":            "backends/redis/start_test.go",
	"docs/frameworks.md text":              "tests/frameworks/frameworks_test.go",
	"docs/migrating-from-express.md nginx": "demo/nginx_test.go",
	"docs/migrating-from-express.md curl":  "demo/express_test.go",
	"examples/express/README.md curl":      "examples/express/main_test.go",
	"examples/login/main.go curl":          "examples/login/main_test.go",
}

// fence is a fenced block of Markdown: its indentation, language and code.
var fence = regexp.MustCompile("(?s)(?:^|\n)( *)```([a-z]*)\n(.*?\n) *```")

// A block is code on a page: a fenced or indented one of a Markdown file, or one of a
// package comment.
type block struct {
	page     string
	language string
	code     string
}

// The code of all pages and package comments is what some file of the project has: Go code
// stands in Go code, which is compiled, JavaScript in JavaScript, and a configuration loads.
// "…" is left out.
func TestPagesHaveRealCode(t *testing.T) {
	var goCode, jsCode strings.Builder
	eachFile(t, func(name string) {
		switch path.Ext(name) {
		case ".go":
			goCode.WriteString("\n" + flat(read(t, name)))
		case ".mjs":
			jsCode.WriteString("\n" + flat(read(t, name)))
		}
	})
	seen := map[string]int{}
	for _, b := range blocks(t) {
		seen[b.language]++
		if test, ok := runs[b.page+" "+b.language]; ok {
			if !strings.Contains(read(t, test), path.Base(b.page)) {
				t.Errorf("%s does not read %s", test, b.page)
			}
			continue
		}
		switch b.language {
		case "go":
			if strings.HasPrefix(b.code, "package main\n") && b.page == "README.md" {
				continue // TestReadmeProgram builds and runs it
			}
			stands(t, b, goCode.String(), b.code)
		case "diff":
			var before, after strings.Builder
			for line := range strings.Lines(b.code) {
				if !strings.HasPrefix(line, "+") {
					before.WriteString(strings.TrimPrefix(line, "-"))
				}
				if !strings.HasPrefix(line, "-") {
					after.WriteString(strings.TrimPrefix(line, "+"))
				}
			}
			stands(t, b, goCode.String(), before.String())
			stands(t, b, goCode.String(), after.String())
		case "js":
			stands(t, b, jsCode.String(), b.code)
		case "yaml":
			loads(t, b)
		case "sh":
			checkCommands(t, b)
		default:
			t.Errorf("%s has code in %q, which no test looks at:\n%s", b.page, b.language, b.code)
		}
	}
	for language, least := range map[string]int{"go": 40, "diff": 4, "js": 3, "yaml": 4, "sh": 20} {
		if seen[language] < least {
			t.Errorf("the pages have %d blocks of %s; does the test still find them?", seen[language], language)
		}
	}
}

// stands reports an error if these lines are not in a file.
func stands(t *testing.T, b block, files, code string) {
	t.Helper()
	code = flat(code)
	if strings.Contains(files, "\n"+code) {
		return
	}
	if parts := strings.Split(code, "…"); len(parts) > 1 {
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		if regexp.MustCompile(`\n` + strings.Join(parts, `(?s:.{0,1000}?)`)).MatchString(files) {
			return
		}
	}
	t.Errorf("%s has code that stands in no file:\n%s", b.page, code)
}

// loads reports an error if a configuration, or a part of one, does not load.
func loads(t *testing.T, b block) {
	t.Helper()
	for _, m := range regexp.MustCompile(`\$\{(\w+)\}`).FindAllStringSubmatch(b.code, -1) {
		value := map[string]string{"REDIS_URL": "redis://localhost", "DATABASE_URL": "postgres://localhost"}[m[1]]
		t.Setenv(m[1], cmp.Or(value, "a-text-of-more-than-thirty-two-bytes"))
	}
	text := b.code
	if !strings.Contains(text, "\nsecret:") {
		text = "secret: a text of more than 32 bytes, for all\n" + text
	}
	file := filepath.Join(t.TempDir(), "session.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := configuration.Load(file); err != nil {
		t.Errorf("a configuration of %s does not load: %v", b.page, err)
	}
}

// blocks returns the code of all pages.
func blocks(t *testing.T) (all []block) {
	t.Helper()
	eachFile(t, func(name string) {
		if path.Ext(name) == ".go" {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root(t), name), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if file.Doc == nil {
				return
			}
			for _, part := range new(comment.Parser).Parse(file.Doc.Text()).Content {
				if code, ok := part.(*comment.Code); ok {
					all = append(all, block{name, guess(code.Text), code.Text})
				}
			}
		}
		if path.Ext(name) != ".md" {
			return
		}
		text := read(t, name)
		for _, m := range fence.FindAllStringSubmatch(text, -1) {
			all = append(all, block{name, m[2], strings.ReplaceAll("\n"+m[3], "\n"+m[1], "\n")[1:]})
		}
		// Outside of a list, four spaces after an empty line begin a block.
		text = fence.ReplaceAllString(text, "\n")
		for _, m := range regexp.MustCompile(`\n\n((?:    .*\n)+)`).FindAllStringSubmatch(text, -1) {
			code := strings.ReplaceAll("\n"+m[1], "\n    ", "\n")[1:]
			all = append(all, block{name, guess(code), code})
		}
	})
	return all
}

// guess returns the language of code that does not say.
func guess(code string) string {
	first := commands(code)[0]
	switch {
	case isCommand(first):
		return "sh"
	case regexp.MustCompile(`^\w+:( |$)`).MatchString(first):
		return "yaml"
	case strings.HasPrefix(first, "ACL "):
		return "redis"
	case strings.HasPrefix(first, "req."):
		return "js"
	}
	return "go"
}

// flat returns the lines of code without indentation and alignment, and without empty ones.
func flat(code string) string {
	var b strings.Builder
	for line := range strings.Lines(code) {
		if line = strings.Join(strings.Fields(line), " "); line != "" {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}
