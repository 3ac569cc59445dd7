package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// validatePath says why a path can't be that of a file.
func validatePath(path string) error {
	switch {
	case path == "":
		return errors.New("the path is empty; give the path of the file")
	case path == ":memory:":
		return errors.New(`":memory:" would be another database for each connection, and lost with the process; use package backends/memory, or give the path of a file`)
	case strings.HasPrefix(path, "file:"):
		return fmt.Errorf("%q is a URI; give the path of the file alone, and use New for other connections", path)
	case strings.ContainsRune(path, 0):
		return fmt.Errorf("the path %q holds a NUL byte", path)
	}
	return nil
}

// openFile checks that path can be the file of a store, and creates it if it is missing
// and create is set. It returns the path without symbolic links, beside which SQLite
// keeps its other files.
//
// It never opens a file that exists. With POSIX locks, closing any descriptor of a file
// releases the locks of the whole process, so that would take the locks of another
// SQLite library in this process.
func openFile(path string, create bool) (string, error) {
	if err := validatePath(path); err != nil {
		return "", err
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if info, err = createFile(path, create); err != nil {
			return "", err
		}
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "", fmt.Errorf("%w; let this process's user enter the folder", err)
	case err != nil:
		return "", err
	case info.IsDir():
		return "", fmt.Errorf("%s is a folder; name a file in it, such as %s", path, filepath.Join(path, "sessions.db"))
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is not a regular file", path)
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return "", err
	}
	// SQLite itself creates this file with the process's umask, and the others, by
	// modeof, with the mode of the database.
	if f, err := os.OpenFile(path+"-shm", os.O_RDWR|os.O_CREATE|os.O_EXCL, info.Mode().Perm()); err == nil {
		_ = f.Chmod(info.Mode().Perm())
		likeOwner(f, info)
		_ = f.Close()
	}
	return path, nil
}

func createFile(path string, create bool) (fs.FileInfo, error) {
	folder := filepath.Dir(path)
	switch _, err := os.Stat(folder); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("the folder %s does not exist; create it, or give another path", folder)
	case !create:
		return nil, fmt.Errorf("the file %s does not exist; set Options.CreateTable to have it created, or give another path", path)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case err == nil:
		err = f.Close()
	case errors.Is(err, fs.ErrExist):
		err = nil // another process was first, or path is a dangling link, which Stat reports
	case errors.Is(err, fs.ErrPermission):
		err = fmt.Errorf("%w; let this process's user write to the folder", err)
	}
	if err != nil {
		return nil, err
	}
	return os.Stat(path)
}

// uri returns the URI of a file for SQLite.
func uri(path string) string {
	slashed := filepath.ToSlash(path)
	if runtime.GOOS == "windows" {
		slashed = "/" + slashed
	}
	u := url.URL{Scheme: "file", OmitHost: true, Path: slashed}
	if runtime.GOOS != "windows" {
		// SQLite does not decode "+".
		u.RawQuery = "modeof=" + strings.ReplaceAll(url.QueryEscape(path), "+", "%20")
	}
	return u.String()
}
