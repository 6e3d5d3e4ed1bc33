/**
 * The version of this package, as in `package.json`.
 *
 * @since 0.1.0
 * @category constants
 */
export const version = "0.1.0"
