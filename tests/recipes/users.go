package recipes

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"strconv"
	"strings"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/auth"
)

const usersTable = `
CREATE TABLE IF NOT EXISTS users (
	id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	name     text   NOT NULL,
	password text   NOT NULL DEFAULT '',    -- a hash; '': the user has none
	role     text   NOT NULL DEFAULT 'user',
	version  bigint NOT NULL DEFAULT 1      -- counting it up ends the user's sessions
);
CREATE UNIQUE INDEX IF NOT EXISTS users_name ON users (lower(name));`

// A User is a row. Sessions hold its id alone.
type User struct {
	ID         int64
	Name, Role string
	version    int64
	hash       string
}

// SessionStamp makes a session from before the version was counted up that of nobody.
func (u User) SessionStamp() string { return strconv.FormatInt(u.version, 10) }

type Users struct{ DB *sql.DB }

func (u Users) NewAuth(sessions *adapter.Manager, o auth.Options) (*auth.Auth[User], error) {
	return auth.NewByID(sessions, u.verifier(), func(user User) int64 { return user.ID }, u.ByID, o)
}

func (u Users) ByID(ctx context.Context, id int64) (User, error) { return u.get(ctx, "id = $1", id) }

func (u Users) get(ctx context.Context, where string, value any) (user User, err error) {
	err = u.DB.QueryRowContext(ctx, "SELECT id, name, role, version, password FROM users WHERE "+where, value).
		Scan(&user.ID, &user.Name, &user.Role, &user.version, &user.hash)
	if errors.Is(err, sql.ErrNoRows) {
		err = auth.ErrInvalid
	}
	return user, err
}

// today begins the hashes that auth.HashPassword makes.
const today = "$argon2id$v=19$m=19456,t=2,p=1$"

func (u Users) verifier() auth.Verifier[User] {
	verify := auth.Passwords(func(ctx context.Context, name string) (User, string, error) {
		user, err := u.get(ctx, "lower(name) = lower($1)", name)
		return user, user.hash, err
	})
	return func(ctx context.Context, name, password string) (User, error) {
		user, err := verify(ctx, name, password)
		if err == nil && !strings.HasPrefix(user.hash, today) {
			if err := u.rehash(ctx, user, password); err != nil { // the next login tries again
				slog.WarnContext(ctx, "users: rehash a password", "error", err)
			}
		}
		return user, err
	}
}

// rehash leaves a password alone that was changed meanwhile.
func (u Users) rehash(ctx context.Context, user User, password string) error {
	hash, err := auth.HashPassword(password)
	if err == nil {
		_, err = u.DB.ExecContext(ctx, "UPDATE users SET password = $1 WHERE id = $2 AND password = $3", hash, user.ID, user.hash)
	}
	return err
}

// Add makes a user.
func (u Users) Add(ctx context.Context, name, password string) error {
	hash, err := auth.HashPassword(password)
	if err == nil {
		_, err = u.DB.ExecContext(ctx, "INSERT INTO users (name, password) VALUES ($1, $2)", name, hash)
	}
	return err
}

// SetPassword ends all sessions of the user. To go on in this one, sign in what it returns.
func (u Users) SetPassword(ctx context.Context, id int64, password string) (User, error) {
	hash, err := auth.HashPassword(password)
	if err == nil {
		_, err = u.DB.ExecContext(ctx, "UPDATE users SET password = $1, version = version + 1 WHERE id = $2", hash, id)
	}
	if err != nil {
		return User{}, err
	}
	return u.ByID(ctx, id)
}
