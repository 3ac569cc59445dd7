package config

import (
	"log/slog"
	"slices"
	"time"
	"weak"

	"github.com/samesid/samesid/adapter"
)

// reloadInterval is how often the files of secretFile are read.
const reloadInterval = 5 * time.Second

// reloader replaces a Manager's secrets when their files change.
type reloader struct {
	files   []string
	manager weak.Pointer[adapter.Manager]
	log     *slog.Logger

	current []string // in use
	seen    []string // as they were last read
	problem string   // the last one that was logged
}

// look reads the files. What has changed counts when it is there for the second time, so that a
// file that is being written is not taken half. Files that can't be used are an error in the
// log, and the secrets stay.
func (r *reloader) look(m *adapter.Manager) {
	var next []string
	for _, file := range r.files {
		secret, err := readSecret(file)
		if err != nil {
			r.fail(file, err)
			return
		}
		next = append(next, secret)
	}
	settled := slices.Equal(next, r.seen)
	r.seen = next
	if !settled || slices.Equal(next, r.current) {
		return
	}
	if err := m.SetSecrets(next); err != nil {
		r.fail(r.files[0], err)
		return
	}
	r.problem = ""
	r.log.Info("config: the files of secretFile have changed, and their secrets are in use", "secrets", len(next))
	if !slices.Contains(next, r.current[0]) {
		r.log.Warn("config: the secret that has signed the cookies until now is in no file of secretFile, so that those cookies count no more: " +
			"to rotate without a logout, add the new secret behind it first")
	}
	r.current = next
}

func (r *reloader) fail(file string, err error) {
	if err.Error() != r.problem {
		r.problem = err.Error()
		r.log.Error("config: a file of secretFile can't be used, and the secrets stay as they were", "file", file, "error", err)
	}
}

// watch looks at the files for as long as the Manager is in use, which needs no goroutine and no
// one who ends it.
func (r *reloader) watch() {
	time.AfterFunc(reloadInterval, func() {
		if m := r.manager.Value(); m != nil {
			r.look(m)
			r.watch()
		}
	})
}
