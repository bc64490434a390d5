//! Inks to colours.

/// The colour of four inks, 0 for none to 255, without a colour profile.
pub fn to_rgb([cyan, magenta, yellow, black]: [u8; 4]) -> [u8; 3] {
    let light = u32::from(255 - black);
    [cyan, magenta, yellow].map(|ink| {
        let product = u32::from(ink) * light + 128;
        (light - ((product + (product >> 8)) >> 8)) as u8
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn inks_take_light_away() {
        assert_eq!(super::to_rgb([0; 4]), [255; 3]);
        assert_eq!(super::to_rgb([255, 0, 0, 0]), [0, 255, 255]);
        assert_eq!(super::to_rgb([10, 20, 30, 255]), [0; 3]);
        assert_eq!(super::to_rgb([100, 0, 0, 55]), [122, 200, 200]);
    }
}
