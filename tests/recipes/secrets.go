package recipes

import (
	"os"
	"strings"

	"github.com/samesid/samesid/adapter"
)

// ReloadSecrets reads the secrets from a file that has one in each line. The first one signs.
func ReloadSecrets(sessions *adapter.Manager, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return sessions.SetSecrets(strings.Fields(string(text)))
}
