package config

import "strings"

// near returns the known path that is most similar to an unknown one, or "".
func (t *table) near(section, name string) string {
	best, least := "", limit(name)+1
	consider := func(path string, k *key) {
		s, n := split(path)
		d := distance(plain(n), plain(name))
		if s != section {
			if d > 0 {
				return
			}
			d = 1 // the right name in the wrong place
		}
		if k != nil {
			path = k.path
		}
		if d < least || d == least && path < best {
			best, least = path, d
		}
	}
	for path, k := range t.byPath {
		consider(path, k)
	}
	for path := range sections {
		consider(path, nil)
	}
	return best
}

// nearEnv does the same for the name of an environment variable.
func (t *table) nearEnv(name string) string {
	if name == envPrefix+"STORE" {
		return t.byPath["store.url"].env()
	}
	best, least := "", limit(strings.TrimPrefix(name, envPrefix))+1
	for _, k := range t.keys {
		if d := distance(plain(k.env()), plain(name)); d < least {
			best, least = k.env(), d
		}
	}
	return best
}

func split(path string) (section, name string) {
	if section, name, ok := strings.Cut(path, "."); ok {
		return section, name
	}
	return "", path
}

func join(section, name string) string {
	if section == "" {
		return name
	}
	return section + "." + name
}

// limit returns the largest distance at which names count as similar.
func limit(name string) int { return (len(name) + 2) / 3 }

// plain returns a name in lower case and without separators.
func plain(name string) string { return strings.ToLower(separators.Replace(name)) }

var separators = strings.NewReplacer("_", "", "-", "", ".", "")

// distance returns the Levenshtein distance.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := min(row[j], row[j+1]) + 1
			if a[i] == b[j] {
				d = min(d, diagonal)
			} else {
				d = min(d, diagonal+1)
			}
			diagonal, row[j+1] = row[j+1], d
		}
	}
	return row[len(b)]
}
