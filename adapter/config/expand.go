package config

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// expand replaces the variables in a text, and reports whether there were any. Its
// errors don't quote the text, which may be a secret.
func expand(text string, env map[string]string) (expanded string, variables bool, err error) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, "$")
		b.WriteString(before)
		switch {
		case !found:
			return b.String(), variables, nil
		case strings.HasPrefix(after, "$"):
			b.WriteByte('$')
			text = after[1:]
		case strings.HasPrefix(after, "{"):
			inner, rest, closed := strings.Cut(after[1:], "}")
			name, instead, hasInstead := strings.Cut(inner, ":-")
			if !closed || !variable.MatchString(name) || strings.Contains(instead, "${") {
				return "", variables, errors.New("has a ${ that is neither ${NAME} nor ${NAME:-text}; for a dollar sign write $$")
			}
			value, set := env[name]
			switch {
			case hasInstead && value == "":
				value = instead
			case !set:
				return "", variables, fmt.Errorf("the environment variable %s is not set", name)
			}
			b.WriteString(value)
			text, variables = rest, true
		default:
			return "", variables, errors.New("has a $ that stands alone; for an environment variable write ${NAME}, for a dollar sign $$")
		}
	}
}
